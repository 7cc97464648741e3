/** Two nodes at a whole istiod: traffic between them, policies that change under it, certificates that are renewed. */
import { mkdirSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { freePort } from "../control/free_port.ts";
import { areReady, IstiodNode } from "../control/istiod_node.ts";
import { comesTrue } from "../peer/lab/eventually.ts";
import type { Tally } from "../peer/tally.ts";
import { databasePolicy, databaseService, hosts, strictPeers } from "./mesh.ts";
import type { Scene } from "./suite.ts";

const applicationPort = 28_682;
/** Where the application of `shop/db` is in truth: its node takes what comes to the host's own address. */
const applicationHost = "127.9.0.3";
const cart = "cluster.local/ns/shop/sa/cart";

interface Pair {
  readonly caller: IstiodNode;
  readonly server: IstiodNode;
  /** Over HBONE, by a port that leads to the service. */
  readonly call: () => Promise<string>;
  /** In plain text, as who is not of the mesh. */
  readonly callPlain: () => Promise<string>;
}

export async function nodesCarry(tally: Tally, prefix: string, scene: Scene): Promise<void> {
  const { istiod, directory, tokens } = scene;
  const at = join(directory, "traffic");
  mkdirSync(at);
  const application = await openApplication();
  await istiod.kubernetes.applyAll(databaseService(applicationPort));
  const mapped = `127.9.0.1:${freePort()}`;
  const common = { directory: at, port: istiod.port, controlName: istiod.name, rootPath: istiod.rootPath };
  const hbonePort = freePort();
  // As short as it may be, so that a renewal is seen.
  const flags = ["--svid-lifetime", "1m"];
  const server = new IstiodNode({
    ...{ ...common, name: "db", tokenPath: tokens.db, workload: "shop/db", hbonePort },
    flags: [
      ...flags,
      ...["--application", `${hosts.db}:${applicationPort}=${applicationHost}:${applicationPort}`],
    ],
  });
  const caller = new IstiodNode({
    ...{ ...common, name: "cart", tokenPath: tokens.cart, workload: "shop/cart", hbonePort },
    flags: [...flags, "--map", `${mapped}=db.shop.mesh:80`],
  });
  const ask = async (url: string): Promise<string> =>
    await fetch(url, { keepalive: false }).then(
      async (answer) => `${answer.status} ${await answer.text()}`,
      () => "refused",
    );
  const pair: Pair = {
    ...{ caller, server },
    call: () => ask(`http://${mapped}/`),
    callPlain: () => ask(`http://${hosts.db}:${applicationPort}/`),
  };
  try {
    const ready = await areReady([server, caller]);
    tally.check(
      `${prefix}: two nodes are ready`,
      ready ? null : `${server.process.log().slice(-1500)}\n${caller.process.log().slice(-1500)}`,
    );
    await policies(tally, prefix, scene, pair);
    await renewal(tally, prefix, pair);
  } finally {
    await Promise.all([server.stop(), caller.stop()]);
    application.close();
  }
}

async function policies(tally: Tally, prefix: string, { istiod }: Scene, pair: Pair): Promise<void> {
  const { kubernetes } = istiod;
  const carries = (): Promise<boolean> => comesTrue(async () => (await pair.call()) === "200 db");
  const refuses = (): Promise<boolean> => comesTrue(async () => (await pair.call()) === "refused");
  const log = (): string =>
    `${pair.caller.process.log().slice(-1500)}\n${pair.server.process.log().slice(-1500)}`;
  tally.check(`${prefix}: one calls the other`, (await carries()) ? null : log());
  const steps: readonly (readonly [string, string, () => Promise<boolean>])[] = [
    ["a policy that allows nobody", "{selector: {matchLabels: {app: db}}}", refuses],
    ["a policy that allows the caller", `{rules: [{from: [{source: {principals: ["${cart}"]}}]}]}`, carries],
    [
      "a policy that denies the caller",
      `{action: DENY, rules: [{from: [{source: {principals: ["${cart}"]}}]}]}`,
      refuses,
    ],
    [
      "a policy that denies others",
      `{action: DENY, rules: [{from: [{source: {notPrincipals: ["${cart}"]}}]}]}`,
      carries,
    ],
  ];
  for (const [what, spec, holds] of steps) {
    await kubernetes.applyAll(databasePolicy(spec));
    tally.check(`${prefix}: ${what} takes effect`, (await holds()) ? null : log());
  }
  await kubernetes.removeAll(databasePolicy("{}"));
  const plain = await comesTrue(async () => (await pair.callPlain()) === "200 db");
  tally.check(`${prefix}: plain text is taken without PeerAuthentication`, plain ? null : log());
  await kubernetes.applyAll(strictPeers);
  const strict = await comesTrue(async () => (await pair.callPlain()) === "refused");
  tally.check(`${prefix}: STRICT refuses plain text`, strict ? null : log());
  tally.check(`${prefix}: and carries what is of the mesh`, (await carries()) ? null : log());
  await kubernetes.removeAll(strictPeers);
}

async function renewal(tally: Tally, prefix: string, { caller, server, call }: Pair): Promise<void> {
  const serials = async (): Promise<string> =>
    JSON.stringify(
      (await Promise.all([caller, server].map((node) => node.get("/config_dump")))).map((dump) =>
        JSON.parse(dump).certificates.map(
          (one: { certChain: { serialNumber: string }[] }) => one.certChain[0]?.serialNumber,
        ),
      ),
    );
  const first = JSON.parse(await serials());
  let failed = 0;
  const both = await comesTrue(async () => {
    if ((await call()) !== "200 db") failed++;
    const now = JSON.parse(await serials());
    return now[0][0] !== first[0][0] && now[1][0] !== first[1][0];
  });
  tally.check(`${prefix}: certificates are renewed`, both ? null : JSON.stringify(first));
  tally.check(`${prefix}: and no call fails meanwhile`, failed === 0 ? null : `${failed} did`);
  const after = await call();
  tally.check(`${prefix}: and a call goes on with the new ones`, after === "200 db" ? null : after);
}

function openApplication(): Promise<Server> {
  const server = createServer((_request, response) => {
    // Each call is a connection of its own, and is decided.
    response.setHeader("connection", "close");
    response.end("db");
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(applicationPort, applicationHost, () => resolve(server));
  });
}
