/** The process of the CA: the product's own services of identity, with rates that no caller reaches. */
import { IdentityLab } from "../../conformance/control/identity_lab.ts";
import { type AuthorityAnswer, type AuthorityCommand, wallMs } from "./words.ts";

const callerCount = 64;
const unlimited = { burst: 1e9, perSecond: 1e9 };
const lab = await IdentityLab.start(3_600_000, {
  addressRate: unlimited,
  callerRate: unlimited,
  namespaceRate: unlimited,
  signingRate: unlimited,
  renewalRate: unlimited,
  maxRateKeys: 10_000,
});
const accounts = Array.from({ length: callerCount }, (_, index) => `app-${index}`);
for (const account of accounts) lab.placements.set(`shop/${account}`, "edge-1");
const tokens = await Promise.all(
  accounts.map((account) => lab.token({ sub: `system:serviceaccount:shop:${account}` })),
);

process.on("message", ({ kind }: AuthorityCommand) => {
  if (kind === "close") {
    lab.close();
    process.exit(0);
  }
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed } = process.memoryUsage();
  const usage = { atMs: wallMs(), cpuMs: (user + system) / 1000, rssBytes: rss, heapBytes: heapUsed };
  answer({ kind: "usage", usage });
});
answer({ kind: "started", port: lab.port, rootsPem: lab.authority.bundle.value.rootsPem, tokens });

function answer(message: AuthorityAnswer): void {
  process.send?.(message);
}
