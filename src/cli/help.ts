/** The parts of `--help` that teach: what this is, and a worked example for each command. */
import type { Style } from "./style.ts";

export const overview = `An ambient zero-trust service mesh: mutual TLS with SPIFFE identities and Istio's
authorization policies between hosts, without sidecars and without Kubernetes.

Start with a folder of Istio documents (WorkloadEntry, ServiceEntry, PeerAuthentication,
AuthorizationPolicy):

  fairlead validate mesh/          check them
  fairlead up -f mesh/             run them on this host
  fairlead get connections         show open connections, and the policy that allowed each
  fairlead explain --from shop/reports --to backend.shop.mesh
                                   say why that is allowed or denied

Several hosts share a control plane:

  fairlead control                 run it
  fairlead join-token create       print the line that lets a host join
  fairlead apply -f mesh/          change the documents of all of them`;

type Example = readonly [comment: string, command: string];

const all = {
  up: [
    ["A mesh on this host; applications enter by SOCKS5:", "fairlead up -f mesh/ --socks5 127.0.0.1:1080"],
    [
      "A local port that leads to one service, as one workload:",
      "fairlead up -f mesh/ --map 127.0.0.1:8080=backend.shop:80@shop/frontend",
    ],
    [
      "Take all TCP of this host without changing applications (root):",
      "fairlead up -f mesh/ --capture redirect",
    ],
  ],
  node: [
    [
      "Join by the line that fairlead join-token create has printed; later starts need only --control:",
      "fairlead node --control https://control.example:15012 --join-token fjt_… --ca-pin sha256:…",
    ],
    [
      "Join a real istiod, as a ztunnel does:",
      "fairlead node --control https://istiod.example:15012 --control-root root.pem --token-file /run/token",
    ],
    [
      "Give Envoy, which runs as user 1001 on this host, the identity of shop/cart:",
      "fairlead node --control https://control.example:15012 \\\n    --identity-socket /run/fairlead/identity.sock --identity-for uid=1001=shop/cart",
    ],
    [
      "One of several hosts that share a CA:",
      "fairlead node -f mesh/ --node edge-2 \\\n    --ca-cert ca.pem --ca-key ca-key.pem --ca-root root.pem",
    ],
    [
      "The same settings from a file and from ztunnel's environment names:",
      "NODE_NAME=edge-2 CRL_PATH=revoked.pem fairlead node --config fairlead.yaml",
    ],
  ],
  run: [
    [
      "One program as the workload shop/reports, with nothing else of this host changed (root):",
      "fairlead run -f mesh/ --as shop/reports -- curl http://backend.shop/",
    ],
    [
      "A server that peers reach, as another user, on a host that has joined:",
      "fairlead run --control https://control.example:15012 --as shop/backend --user www -- ./server",
    ],
  ],
  schema: [
    [
      "For an editor, next to the documents (docs/editors.md):",
      "fairlead schema > mesh/.fairlead.schema.json",
    ],
    ["One kind:", "fairlead schema AuthorizationPolicy"],
  ],
  capture: [
    ["Which rules are loaded here, and do they work?", "fairlead capture status"],
    ["After a node was killed:", "fairlead capture remove"],
    [
      "Try capture on a host that you reach by the network; without the second line it is taken back:",
      "fairlead node … --capture redirect --confirm 60s\n  fairlead capture confirm",
    ],
  ],
  check: [
    ["Is this host fit for the mesh, before anything is installed?", "fairlead check --pre"],
    ["Host, node, certificates, peers and policies:", "fairlead check"],
    [
      "In a pipeline, with warnings counted:",
      "fairlead check --strict --json | jq '.findings[] | .code + \" \" + .detail'",
    ],
  ],
  install: [
    ["See what would be done:", "fairlead install --dry-run -- node --control https://control.example:15012"],
    [
      "As the line of fairlead join-token create says, with capture, now and at each start of the host:",
      "fairlead install -- node --control https://control.example:15012 --join-token fjt_… --ca-pin sha256:… --capture redirect",
    ],
    ["Without starting it; settings are in /etc/fairlead/fairlead.yaml:", "fairlead install"],
  ],
  uninstall: [
    ["See what would be removed:", "fairlead uninstall --dry-run"],
    ["For a new start with the same keys:", "fairlead uninstall --keep-state"],
  ],
  completion: [
    [
      "For this user alone:",
      "fairlead completion bash > ~/.local/share/bash-completion/completions/fairlead",
    ],
  ],
  names: [
    ["Do this host's programs ask a node for names?", "fairlead names status"],
    ["After a node was killed:", "fairlead names remove"],
  ],
  validate: [
    ["Check a folder and a file:", "fairlead validate mesh/ extra.yaml"],
    [
      "Print only the errors, in a pipeline:",
      "fairlead validate --json mesh/ | jq '.findings[] | select(.severity == \"error\")'",
    ],
  ],
  get: [
    ["The identities of this host and how long they last:", "fairlead get certificates"],
    ["Who talked to whom, and who was refused:", "fairlead get traffic"],
    ["Is the control plane connected, and is the mesh up to date?", "fairlead get control"],
    [
      "Another node on this machine, one namespace, as JSON:",
      "fairlead get workloads --admin 127.0.0.11:15000 -n shop -o json",
    ],
    [
      "The documents of this host's control plane, as they were applied:",
      "fairlead get documents --control https://127.0.0.1:15012 -o yaml",
    ],
  ],
  explain: [
    [
      "May reports reach the backend, by the node that runs here?",
      "fairlead explain --from shop/reports --to backend.shop.mesh --port 80",
    ],
    [
      "By documents that are in force nowhere yet:",
      "fairlead explain -f mesh/ --from shop/reports --to shop/backend",
    ],
    [
      "Why was that connection refused? Its access line ends with id=4711:",
      "fairlead explain --connection 4711",
    ],
    ["Does the backend still take plain text?", "fairlead explain --from outside --to shop/backend"],
  ],
  "policy test": [["Before a change is applied:", "fairlead policy test mesh/"]],
  status: [
    ["Is the node of this host ready, and what does it wait for?", "fairlead status --admin 127.0.0.1:15000"],
    ["How is the control plane, and who am I to it?", "fairlead status --control https://10.0.0.10:15012"],
  ],
  tap: [
    ["What is refused, as it happens:", "fairlead tap --failed"],
    ["All that one service is asked, for a program:", "fairlead tap --to shop/backend --json"],
  ],
  top: [
    ["Which services are busy, and which refuse:", "fairlead top"],
    ["One reading over ten seconds, for a log:", "fairlead top --every 10s | cat"],
  ],
  upgrade: [
    ["Would that binary do on this host?", "fairlead upgrade --to ./fairlead-new --check"],
    ["Run it in the place of the node that runs here:", "sudo fairlead upgrade --to ./fairlead-new"],
    [
      "After a change of /etc/fairlead/fairlead.yaml, or of what certificates and files it names:",
      "sudo fairlead upgrade",
    ],
    ["Back to the binary before:", "sudo fairlead upgrade --to /usr/local/bin/fairlead.previous"],
  ],
  drain: [["Before this host is shut down:", "fairlead drain"]],
  "log-level": [["See every decision for a while:", "fairlead log-level debug"]],
  control: [
    [
      "A control plane; the first start makes everything that it needs:",
      "fairlead control --serving-name control.example",
    ],
    [
      "With an intermediate that Vault's PKI signs:",
      "fairlead control --serving-name control.example \\\n    --ca vault-pki --vault https://vault.example:8200 --vault-token-file /run/vault-token",
    ],
  ],
  "join-token create": [
    [
      "For a host that runs the workloads that documents place on it:",
      "fairlead join-token create --node edge-1",
    ],
    [
      "For one more member of a WorkloadGroup, for ten minutes:",
      "fairlead join-token create --group shop/cart-vms --ttl 10m",
    ],
  ],
  apply: [
    ["See what would change:", "fairlead apply -f mesh/ --dry-run"],
    [
      "Make a namespace exactly what these files say, in a pipeline:",
      "fairlead apply -f shop/ --prune shop --yes",
    ],
    ["Change who may administer what:", "fairlead apply -f administrators.yaml"],
  ],
  delete: [["Show one policy, ask, and remove it:", "fairlead delete AuthorizationPolicy shop/only-cart"]],
  diff: [
    ["Compare files with the documents in force:", "fairlead diff -f mesh/"],
    ["Compare two versions:", "fairlead diff 11 12"],
  ],
  rollback: [
    ["Bring back version 11:", "fairlead rollback 11"],
    ["Bring back only one namespace:", "fairlead rollback 11 --namespace shop"],
  ],
  history: [["The last ten versions:", "fairlead history --limit 10"]],
  revoke: [
    ["A host that was stolen, with its workloads:", "fairlead revoke --node edge-1 --reason stolen"],
    ["One identity, everywhere:", "fairlead revoke spiffe://cluster.local/ns/shop/sa/cart"],
    ["Let a host of that name join again:", "fairlead revoke --node edge-1 --lift"],
  ],
  "ca rotate": [
    ["Announce a new root:", "fairlead ca rotate start --kind root"],
    ["See how far it is, and end the old root:", "fairlead ca rotate status && fairlead ca rotate finish"],
  ],
  "ca root-key": [
    [
      "Take the root's key out of the state, into a file on the control plane's host:",
      "fairlead ca root-key export",
    ],
    ["Where it is, and where the file is looked for:", "fairlead ca root-key status"],
  ],
  audit: [
    ["Show what was refused lately:", "fairlead audit -o json | jq '.[] | select(.outcome == \"refused\")'"],
    ["Follow what happens in one namespace:", "fairlead audit --namespace shop --follow"],
  ],
  "audit verify": [
    ["Check against the signed heads that the control plane keeps:", "fairlead audit verify"],
    [
      "Check also against a head that you kept elsewhere:",
      "fairlead audit verify --head 4711:$(cat head.sha256)",
    ],
    [
      "Check what a host was sent, when you do not trust the control plane:",
      "fairlead audit verify --independent --heads control-audit-heads.json",
    ],
  ],
  prune: [["When the state is nearly full:", "fairlead prune --audit-rows 10000 --versions 20"]],
  backup: [["A copy of all state:", "fairlead backup fairlead.backup"]],
  restore: [
    [
      "On a host where no control plane runs:",
      "fairlead restore fairlead.backup --state-directory /var/lib/fairlead",
    ],
  ],
} satisfies Readonly<Record<string, readonly Example[]>>;

export function examples(command: keyof typeof all, style: Style): string {
  const shown: readonly Example[] = all[command];
  const lines = shown.map(([comment, line]) => `  ${style.dim(`# ${comment}`)}\n  ${line}\n`);
  return `\n${style.bold("Examples:")}\n${lines.join("\n")}`;
}
