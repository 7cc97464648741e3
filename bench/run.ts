/** `npm run bench -- <name> …` */
import { join } from "node:path";
import { benchControl } from "./control/run.ts";
import { benchCores } from "./cores/run.ts";
import { benchGrowth } from "./growth/run.ts";
import { writeTables } from "./tables/write.ts";
import { benchTunnel } from "./tunnel/run.ts";
import { benchWaypoint } from "./waypoint/run.ts";

const usage = `usage: npm run bench -- <name> [flags]

  tunnel   Fairlead beside ztunnel, Envoy, a bare relay and plain TCP (root, Linux); --help for its flags
  cores    Fairlead with one worker and with several, and ztunnel with as many threads (root, Linux); --help for its flags
  growth   Fairlead and ztunnel with more connections, services and policies, peers, changes (root, Linux); --help for its flags
  waypoint Fairlead and Envoy as the waypoint between the same nodes: HTTP/1.1 and HTTP/2; --help for its flags
  control  the control plane: first push and changes to many nodes, certificates; --workloads, --services, --nodes, --certificates
  micro    the hot functions by themselves
  tables   writes the tables of the READMEs from the raw results in bench/raw
`;

const [name, ...rest] = process.argv.slice(2);
switch (name) {
  case "tunnel":
    process.exit(await benchTunnel(rest));
    break;
  case "cores":
    process.exit(await benchCores(rest));
    break;
  case "growth":
    process.exit(await benchGrowth(rest));
    break;
  case "waypoint":
    process.exit(await benchWaypoint(rest));
    break;
  case "control":
    process.exit(await benchControl(rest));
    break;
  case "tables":
    process.exit(writeTables());
    break;
  case "micro": {
    const child = Bun.spawn([process.execPath, join(import.meta.dir, "micro/run.ts"), ...rest], {
      stdio: ["inherit", "inherit", "inherit"],
    });
    process.exit(await child.exited);
    break;
  }
  default:
    console.error(usage);
    process.exit(name === undefined || name === "--help" ? 0 : 2);
}
