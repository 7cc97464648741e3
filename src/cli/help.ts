/** The parts of `--help` that teach: what this is, and a worked example for each command. */
import type { Style } from "./style.ts";

export const overview = `An ambient zero-trust service mesh: mutual TLS with SPIFFE identities and Istio's
authorization policies between hosts, without sidecars and without Kubernetes.

Start with a folder of Istio documents (WorkloadEntry, ServiceEntry, PeerAuthentication,
AuthorizationPolicy):

  fairlead validate mesh/          are they good?
  fairlead up -f mesh/             run them on this host
  fairlead get connections         who is talking to whom right now, and by which policy`;

type Example = readonly [comment: string, command: string];

const all: Readonly<Record<"up" | "node" | "validate" | "get", readonly Example[]>> = {
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
      "One of several hosts that share a CA:",
      "fairlead node -f mesh/ --node edge-2 \\\n    --ca-cert ca.pem --ca-key ca-key.pem --ca-root root.pem",
    ],
    [
      "The same settings from a file and from ztunnel's environment names:",
      "NODE_NAME=edge-2 CRL_PATH=revoked.pem fairlead node --config fairlead.yaml",
    ],
  ],
  validate: [
    ["Two places, for people:", "fairlead validate mesh/ extra.yaml"],
    ["For a pipeline:", "fairlead validate --json mesh/ | jq '.findings[] | select(.severity == \"error\")'"],
  ],
  get: [
    ["The identities of this host and how long they last:", "fairlead get certificates"],
    ["Who talked to whom, and who was refused:", "fairlead get traffic"],
    [
      "Another node on this machine, one namespace, as JSON:",
      "fairlead get workloads --admin 127.0.0.11:15000 -n shop -o json",
    ],
  ],
};

export function examples(command: keyof typeof all, style: Style): string {
  const lines = all[command].map(([comment, line]) => `  ${style.dim(`# ${comment}`)}\n  ${line}\n`);
  return `\n${style.bold("Examples:")}\n${lines.join("\n")}`;
}
