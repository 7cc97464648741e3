/** The commands of `docs/waypoint.md` and `docs/capture.md`. Documents are those of the page. */
import type { Step } from "./steps.ts";

const ready = (port: number) => `curl -sf http://127.0.0.1:${port}/healthz/ready`;

export const waypointSteps: readonly Step[] = [
  {
    line: "mkdir -p items && echo hello > items/1",
    before: "page-documents mesh/mesh.yaml mesh/policy.yaml",
  },
  { line: "python3 -m http.server 8080 --bind 127.0.4.12", until: "curl -sf http://127.0.4.12:8080/" },
  {
    line: "fairlead up -f mesh/ --node vm-1 --state-directory state-1 --map 127.0.4.11:8081=api.shop.mesh:80 --admin 127.0.0.1:15100 --metrics 127.0.0.1:15120 --readiness 127.0.0.1:15121",
    until: ready(15121),
  },
  { line: "cp -r state-1 state-2" },
  {
    line: "fairlead up -f mesh/ --node vm-2 --state-directory state-2 --waypoint shop/waypoint --admin 127.0.0.1:15200 --metrics 127.0.0.1:15220 --readiness 127.0.0.1:15221",
    until: ready(15221),
  },
  { line: "curl http://127.0.4.11:8081/items/1", says: /^hello$/m },
  { line: "curl http://127.0.4.11:8081/", says: /RBAC: access denied/ },
  { line: "curl -X POST http://127.0.4.11:8081/items/1", says: /RBAC: access denied/ },
  {
    line: "fairlead control --control-listen 127.0.0.1:15012 --serving-name 127.0.0.1 --state-directory control --metrics 127.0.0.1:15320 --readiness 127.0.0.1:15321",
    until: ready(15321),
  },
  { line: "export FAIRLEAD_CONTROL=https://127.0.0.1:15012 FAIRLEAD_IDENTITY=control/admin.pem" },
  { line: "fairlead apply -f mesh/", instead: "fairlead apply -f mesh/ --yes" },
  { line: "fairlead join-token create --node vm-1", says: /fairlead node --control/ },
  { line: "fairlead join-token create --node vm-2", says: /fairlead node --control/ },
  {
    line: "fairlead up -f mesh/ --node vm-2 --state-directory state-2 --l7 shop/api",
    before: "stop all\nunset FAIRLEAD_CONTROL FAIRLEAD_IDENTITY",
    until: ready(15021),
  },
];

/** Pages of commands that show what is there. */
export const explainSteps: readonly Step[] = [
  {
    line: "fairlead explain --from shop/reports --to backend.shop.mesh --port 80",
    before: "cp -r $REPOSITORY/examples/shop mesh",
    // The names of examples/shop, of its documents: no node is running.
    instead: "fairlead explain -f mesh/ --from shop/cart --to db.shop --port 5432",
    says: /allowed/,
  },
];

export const runSteps: readonly Step[] = [
  {
    line: "fairlead run -f mesh/ --as shop/api -- python3 -m http.server 8080",
    before: "page-documents mesh/mesh.yaml",
    instead:
      "fairlead run -f mesh/ --as shop/api -- sh -c 'echo up > serving; exec /usr/bin/env python3 -m http.server 8080'",
    until: "test -e serving",
  },
  {
    line: "fairlead run -f mesh/ --as shop/reports -- curl http://api.shop/",
    instead:
      "fairlead run -f mesh/ --as shop/reports -- curl -sS --retry 20 --retry-delay 1 --retry-all-errors http://api.shop/",
    says: /Directory listing/,
  },
];

export const namesSteps: readonly Step[] = [
  {
    line: "fairlead node … --capture redirect --dns-setup auto",
    notRun:
      "it changes the resolver of the whole host; `npm run conformance -- vm` has it, in a root of its own",
  },
  {
    line: "fairlead names remove",
    notRun:
      "it changes the resolver of the whole host; `npm run conformance -- vm` has it, in a root of its own",
  },
];

const installs = "it changes the whole host; `npm run conformance -- vm` has it, in a root of its own";

export const installSteps: readonly Step[] = [
  "fairlead install --dry-run -- node --control https://control.example:15012 --capture redirect",
  "fairlead install -- node --control https://control.example:15012 --join-token fjt_… --ca-pin sha256:… --capture redirect",
  "fairlead uninstall --dry-run",
  "fairlead uninstall",
].map((line) => ({ line, notRun: installs }));

const upgrades =
  "it replaces a node that was installed; `npm run conformance -- upgrade` does, under load and with the built binary";

export const upgradeSteps: readonly Step[] = [
  "fairlead upgrade --to ./fairlead-new --check",
  "fairlead upgrade --to ./fairlead-new",
  "fairlead upgrade",
  "systemctl reload fairlead",
].map((line) => ({ line, notRun: upgrades }));

export const watchingSteps: readonly Step[] = [
  {
    line: "fairlead status",
    before: "cp -r $REPOSITORY/examples/shop mesh",
    instead: `(fairlead up -f mesh/ > up.log 2>&1 &); until ${ready(15021)} > /dev/null; do sleep 0.1; done; fairlead status`,
    says: /ready +yes\n(.*\n)*documents +8 in force/,
  },
  { line: "fairlead status -o json", says: /"ready": true/ },
  { line: "fairlead tap", instead: "timeout 3 fairlead tap", exitCodes: [124, 143, 0] },
  { line: "fairlead tap --failed", instead: "timeout 2 fairlead tap --failed", exitCodes: [124, 143, 0] },
  {
    line: "fairlead tap --to shop/backend",
    instead: "timeout 2 fairlead tap --to shop/db",
    exitCodes: [124, 143, 0],
  },
  {
    line: "fairlead tap --from shop --json",
    instead: "timeout 2 fairlead tap --from shop --json",
    exitCodes: [124, 143, 0],
  },
];

/** A firewall's chain as distributions have it. */
const firewall =
  "nft add table inet filter\nnft 'add chain inet filter input { type filter hook input priority 0; policy accept; }'";

/** As on a host with cgroups of version 2 alone, whatever this one has. */
const withCgroups = (words: string): string =>
  `exec unshare -m sh -c 'mount -t cgroup2 none /sys/fs/cgroup && exec ${words}'`;
const byCgroup = (setting: string, before: string): Step => {
  const line = `fairlead up -f mesh/ --capture redirect ${setting}`;
  return { line, before, instead: withCgroups(line), until: ready(15021) };
};

export const captureSteps: readonly Step[] = [
  byCgroup("--capture-cgroup mesh.slice", "cp -r $REPOSITORY/examples/shop mesh"),
  byCgroup("--capture-exclude-cgroup system.slice/backup.service", "stop all"),
  {
    line: "fairlead up -f mesh/ --capture redirect --confirm 60s",
    before: "stop all",
    until: ready(15021),
  },
  { line: "fairlead capture confirm", says: /capture is confirmed/ },
  {
    line: "nft insert rule inet filter input meta l4proto tcp ct status dnat ct original proto-dst { 80, 443 } accept",
    before: `stop all; ${firewall}`,
  },
  { line: "nft insert rule inet filter input tcp dport 15008 accept" },
];
