/** The commands of `docs/control-plane.md`, in the order of the page, at one control plane with one host. */
import type { Step } from "./steps.ts";

const ready = (port: number) => `curl -sf http://127.0.0.1:${port}/healthz/ready`;
const idle = "until fairlead ca rotate status -o json | grep -q '\"idle\"'; do sleep 0.2; done";
const hasWitness = "until test -s edge-1/control-audit-heads.json; do sleep 0.2; done";

/** What the page takes for granted: a control plane at 10.0.0.10, documents, and a host that has joined. */
const world = [
  "ip addr add 10.0.0.10/32 dev lo",
  "export STATE=$PWD/control",
  "cp -r $REPOSITORY/examples/control/mesh mesh",
  "(fairlead control --serving-name 10.0.0.10 --state-directory $STATE > control.log 2>&1 &)",
  `until ${ready(15021)}; do sleep 0.1; done`,
  "export FAIRLEAD_CONTROL=https://10.0.0.10:15012 FAIRLEAD_IDENTITY=$STATE/admin.pem",
  "fairlead apply -f mesh/ --yes",
  "fairlead join-token create --node edge-1 > line",
  '($(grep "^ *fairlead node" line) --state-directory edge-1 --join-address 127.0.2.11 --admin 127.0.0.1:15000 --metrics off --readiness 127.0.0.1:15221 > edge-1.log 2>&1 &)',
  "until fairlead nodes | grep -q edge-1; do sleep 0.1; done",
  hasWitness,
  "cp edge-1/control-audit-heads.json .",
].join("\n");

const needsVault = "`npm run conformance -- control` has it, at a real OpenBao";

export const controlSteps: readonly Step[] = [
  {
    line: "fairlead audit verify --heads control-audit-heads.json",
    before: world,
    says: /./,
  },
  { line: "fairlead audit verify --independent --heads control-audit-heads.json", says: /./ },
  { line: "fairlead status", says: /ready/i },
  { line: "fairlead nodes", says: /edge-1/ },
  {
    line: "fairlead nodes remove edge-1",
    notRun:
      "the host is needed below; src/cli/control/control.test.ts and `npm run conformance -- control` remove hosts",
  },
  { line: "fairlead get control", says: /10\.0\.0\.10/ },
  {
    line: "fairlead audit -o json | jq '.[] | select(.outcome == \"refused\")'",
    before: "type jq",
  },
  {
    line: "fairlead revoke --node edge-1 --reason stolen",
    notRun: "the same line is run for README.md",
  },
  { line: "fairlead ca rotate start", says: /preparing|reissuing/ },
  { line: "fairlead ca rotate status", says: /preparing|reissuing/ },
  {
    line: "fairlead ca rotate finish",
    before: "until fairlead ca rotate status | grep -q 'rotate finish'; do sleep 0.2; done",
  },
  { line: "fairlead backup after-rotation.backup", before: idle },
  { line: "fairlead ca rotate start --kind intermediate" },
  { line: "fairlead ca rotate status", says: /reissuing|idle/ },
  { line: "fairlead ca root-key export", before: idle, says: /root-key\.pem/ },
  { line: "mv $STATE/root-key.pem /media/safe/", instead: "mkdir safe && mv $STATE/root-key.pem safe/" },
  { line: "fairlead ca show", says: /the root's key is (?:kept away from|not) here/ },
  { line: "fairlead backup mesh.backup" },
  {
    line: "fairlead restore mesh.backup --state-directory $STATE",
    before: "stop all\nmv control control.before\ncp control.before/key-encryption.key kek.before",
    // Its key is not in the back-up: the page's next lines put it back.
    exitCodes: [0],
  },
  {
    line: "fairlead control --state-directory $STATE --key-encryption-key file:/etc/fairlead/kek",
    instead:
      "fairlead control --serving-name 10.0.0.10 --state-directory $STATE --key-encryption-key file:$PWD/kek.before",
    until: ready(15021),
  },
  { line: "openssl rand -base64 32 > /etc/fairlead/kek", instead: "openssl rand -base64 32 > kek" },
  {
    line: "fairlead control … --key-encryption-key file:/etc/fairlead/kek --former-key-encryption-key file:$STATE/key-encryption.key",
    before: "stop all",
    instead:
      "fairlead control --serving-name 10.0.0.10 --state-directory $STATE --key-encryption-key file:$PWD/kek --former-key-encryption-key file:$PWD/kek.before",
    until: ready(15021),
  },
  {
    line: "fairlead node --control https://istiod.example:15012 --control-root root.pem --token-file token --workload shop/db",
    notRun: "it needs an istiod; `npm run conformance -- control` has it, with ISTIOD_LAB at a real one",
  },
  {
    line: "fairlead control --serving-name 10.0.0.10 --ca vault-pki --vault https://vault.example:8200 --vault-root vault-ca.pem --vault-role-id ROLE --vault-secret-id-file /run/credentials/secret-id",
    notRun: needsVault,
  },
  {
    line: "fairlead node … --identity-socket /run/fairlead/identity.sock --identity-for uid=1001=shop/cart --identity-for gid=2000=shop/batch",
    notRun: "`npm run conformance -- control` has it, with go-spiffe and Envoy at the socket",
  },
  {
    line: "curl --cert admin.pem --key admin.pem --cacert admin.pem https://10.0.0.10:15012/v1/status",
    instead:
      "cd $STATE && curl -s --cert admin.pem --key admin.pem --cacert admin.pem https://10.0.0.10:15012/v1/status",
    says: /"version"/,
  },
];
