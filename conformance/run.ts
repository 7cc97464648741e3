/** `npm run conformance -- <name> …` */
import { adversaryConformance } from "./adversary/run.ts";
import { captureConformance } from "./capture/run.ts";
import { controlConformance } from "./control/run.ts";
import { docsConformance } from "./docs/run.ts";
import { httpConformance } from "./http/run.ts";
import { istioConformance } from "./istio/run.ts";
import { peerConformance } from "./peer/run.ts";
import { powerConformance } from "./power/run.ts";
import { runtimeConformance } from "./runtime/run.ts";
import { tenantConformance } from "./tenants/run.ts";
import { upgradeConformance } from "./upgrade/run.ts";
import { vmConformance } from "./vm/run.ts";
import { waypointConformance } from "./waypoint/run.ts";
import { workersConformance } from "./workers/run.ts";

const usage = `usage: npm run conformance -- <name> [flags]

  peer      other implementations on either side of ours; --help for its flags
  istio     documents by kind: what Istio's validation takes and refuses
  control   the control plane and its parts against other implementations
  adversary ways to make work cheaply, against a node and a control plane
  capture   what captures TCP, by each program that can install the rules (root)
  upgrade   nodes replaced under load: no request fails, no connection is cut (root)
  workers   a node whose traffic several processes carry: one view, and what becomes of one that dies (Linux)
  vm        a virtual machine's life in the mesh: names, installation, checks (root)
  docs      every command of README.md and docs/, as it stands there (root)
  http      HTTP through a waypoint: requests that two parsers could read differently, h2spec, Autobahn, gRPC interop
  waypoint  routes case by case through a waypoint, and the same routes in a real Envoy
  runtime   the tests of the pure folders in Node 22 and in Deno 2
  power     the power goes at every write of files and of the state; what was acknowledged must be there (strace)
  tenants   two tenants and an administrator of the mesh at one control plane: what the one tries against the other
`;

const [name, ...rest] = process.argv.slice(2);
switch (name) {
  case "peer":
    process.exit(await peerConformance(rest));
    break;
  case "control":
    process.exit(await controlConformance(rest));
    break;
  case "tenants":
    process.exit(await tenantConformance(rest));
    break;
  case "upgrade":
    process.exit(await upgradeConformance(rest));
    break;
  case "workers":
    process.exit(await workersConformance(rest));
    break;
  case "power":
    process.exit(await powerConformance(rest));
    break;
  case "adversary":
    process.exit(await adversaryConformance(rest));
    break;
  case "capture":
    process.exit(await captureConformance(rest));
    break;
  case "vm":
    process.exit(await vmConformance(rest));
    break;
  case "docs":
    process.exit(await docsConformance(rest));
    break;
  case "http":
    process.exit(await httpConformance(rest));
    break;
  case "waypoint":
    process.exit(await waypointConformance(rest));
    break;
  case "runtime":
    process.exit(await runtimeConformance(rest));
    break;
  case "istio":
    process.exit(istioConformance(rest));
    break;
  default:
    console.error(usage);
    process.exit(name === undefined || name === "--help" ? 0 : 2);
}
