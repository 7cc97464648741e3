/** `npm run conformance -- <name> …` */
import { controlConformance } from "./control/run.ts";
import { peerConformance } from "./peer/run.ts";

const usage = `usage: npm run conformance -- <name> [flags]

  peer      other implementations on either side of ours; --help for its flags
  control   the control plane and its parts against other implementations
`;

const [name, ...rest] = process.argv.slice(2);
switch (name) {
  case "peer":
    process.exit(await peerConformance(rest));
    break;
  case "control":
    process.exit(await controlConformance(rest));
    break;
  default:
    console.error(usage);
    process.exit(name === undefined || name === "--help" ? 0 : 2);
}
