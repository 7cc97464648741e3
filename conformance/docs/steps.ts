/** What becomes of each command of the pages: it is run, as it stands or with what a page leaves out, or it is said why it is not. */

export interface Step {
  /** As it is on the page. */
  readonly line: string;
  /** Why it is not run here, and what tries it instead. */
  readonly notRun?: string;
  /** What stands for `…`, or for names and places that are the reader's; as a shell has it. */
  readonly instead?: string;
  /** Done before, silently: what the page's text tells the reader to have. */
  readonly before?: string;
  /** It goes on; the next step waits until this says yes. */
  readonly until?: string;
  /** What must be in its output. */
  readonly says?: RegExp;
  /** It ends with another code: what it shows is a state that is not ready. */
  readonly exitCodes?: readonly number[];
}

/** Where the programs of the pages say that they are ready. */
const ready = (port: number) => `curl -sf http://127.0.0.1:${port}/healthz/ready`;
const kill = (pattern: string) => `stop ${pattern}`;

/** One folder, in the order of the page. */
export interface PageStory {
  readonly page: string;
  readonly steps: readonly Step[];
}

export const readmeSteps: readonly Step[] = [
  { line: "npm start", instead: 'cd "$REPOSITORY" && exec npm start', until: ready(15021) },
  { line: "npm test", notRun: "this is a part of it" },
  {
    line: "python3 -m http.server 15432 --bind 127.0.0.12",
    until: "curl -sf http://127.0.0.12:15432/",
  },
  { line: "curl http://127.0.0.11:5432/", says: /Directory listing/ },
  {
    line: "npm run -s fairlead -- get traffic",
    instead: 'cd "$REPOSITORY" && npm run -s fairlead -- get traffic',
    says: /shop\/cart +shop\/db +source +mutual_tls +1/,
  },
  {
    line: "npm run build",
    notRun: "bash .ci/run builds, and runs both demos with the binary",
  },
  {
    line: "dist/fairlead explain -f mesh/ --from shop/reports --to shop/backend",
    before: "cp -r $REPOSITORY/examples/shop mesh",
    // The names of examples/shop.
    instead: "dist/fairlead explain -f mesh/ --from shop/cart --to shop/db",
    says: /allowed/,
  },
  { line: "dist/fairlead validate mesh/", says: /./ },
  { line: "dist/fairlead up -f mesh/", before: kill("all"), until: ready(15021) },
  {
    line: "dist/fairlead node -f mesh/ --node edge-2 --ca-cert ca.pem --ca-key ca-key.pem --ca-root root.pem",
    before: `${kill("all")}; openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out ca-key.pem && openssl req -x509 -new -key ca-key.pem -subj /CN=root -days 30 -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign -out ca.pem && cp ca.pem root.pem`,
    until: ready(15021),
  },
  {
    line: "dist/fairlead get workloads|services|policies|certificates|connections|documents|control|identity-socket|traffic",
    instead:
      "for one in workloads services policies certificates connections documents traffic; do dist/fairlead get $one || exit 1; done",
  },
  { line: "dist/fairlead control", before: kill("all"), until: ready(15021) },
  {
    line: "dist/fairlead check --pre",
    // Fit or not: what it finds is the host's.
    exitCodes: [0, 1],
    says: /\d+ errors?, \d+ warnings?/,
  },
  {
    line: "dist/fairlead install --dry-run -- node --control https://…",
    notRun: "`npm run conformance -- vm` installs, and shows what would be, in a root of its own",
  },
  { line: "dist/fairlead --help", says: /join-token/ },
  {
    line: "node src/main_node.ts up -f mesh/ --socks5 127.0.0.1:1080",
    notRun: "`npm run conformance -- runtime tunnel` runs it, with a mesh of its own",
  },
  {
    line: "deno run -A src/main_node.ts up -f mesh/ --socks5 127.0.0.1:1080",
    notRun: "the same",
  },
  {
    line: "fairlead control --serving-name 10.0.0.10",
    before: `${kill("all")}; ip addr add 10.0.0.10/32 dev lo; rm -rf "$XDG_STATE_HOME" mesh; cp -r $REPOSITORY/examples/control/mesh mesh`,
    until: ready(15021),
  },
  { line: "export FAIRLEAD_CONTROL=https://10.0.0.10:15012" },
  // It asks on a terminal, which there is none of here.
  { line: "fairlead apply -f mesh/", instead: "fairlead apply -f mesh/ --yes", says: /version/ },
  {
    line: "fairlead join-token create --workload shop/db",
    instead: "fairlead join-token create --workload shop/db | tee line",
    says: /fairlead node --control https:\/\/10\.0\.0\.10:15012 --join-token fjt_/,
  },
  {
    line: "fairlead node --control https://10.0.0.10:15012 --join-token fjt_… --ca-pin sha256:…",
    instead:
      '$(grep "^ *fairlead node" line) --state-directory db --join-address 127.0.2.13 --admin 127.0.0.1:15200 --metrics off --readiness 127.0.0.1:15221',
    until: ready(15221),
  },
  { line: "fairlead nodes", says: /shop\/db/ },
  {
    line: "fairlead diff -f mesh/",
    before: "sed -i 's/15432/15433/' mesh/policies.yaml mesh/policy.yaml 2>/dev/null || true",
    exitCodes: [0, 1],
    says: /./,
  },
  {
    line: "fairlead rollback 11",
    instead: "fairlead apply -f mesh/ --yes && fairlead rollback 1 --yes",
    says: /version/,
  },
  {
    line: "fairlead revoke --node edge-1 --reason stolen",
    before: [
      "fairlead join-token create --node edge-1 > line",
      '($(grep "^ *fairlead node" line) --state-directory edge-1 --join-address 127.0.2.11 --admin 127.0.0.1:15300 --metrics off --readiness 127.0.0.1:15321 > edge-1.log 2>&1 &)',
      "until fairlead nodes | grep -q edge-1; do sleep 0.1; done",
    ].join("\n"),
    says: /edge-1|revoked/,
  },
  { line: "fairlead ca rotate start", says: /preparing|reissuing/ },
  {
    line: "fairlead ca root-key export",
    before:
      "until fairlead ca rotate status | grep -q 'rotate finish'; do sleep 0.2; done; fairlead ca rotate finish; until fairlead ca rotate status -o json | grep -q idle; do sleep 0.2; done",
    says: /root-key\.pem/,
  },
  {
    line: "fairlead audit --follow",
    instead: "timeout 5 fairlead audit --follow",
    exitCodes: [124, 0, 143],
    says: /rotation/,
  },
  { line: "fairlead audit verify", says: /./ },
  {
    line: "fairlead backup fairlead.backup",
    instead: "fairlead backup fairlead.backup && test -s fairlead.backup",
  },
];
