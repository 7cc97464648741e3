/** Envoy's rate limit service over TLS: a real waypoint asks a server by grpcio, and asks no server that it does not know. */
import { mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { TestAuthority } from "../../peer/lab/authority.ts";
import { hangMs } from "../../peer/lab/eventually.ts";
import { Subprocess } from "../../peer/lab/subprocess.ts";
import { findPython, repository } from "../../peer/lab/tools.ts";
import { applicationOf, openSmallStage, type SmallStage } from "../small_stage.ts";

type Tell = (name: string, fault: string | null) => void;

const number = 37;
const known = "caFile: ca.pem";
const withCertificate = `${known}, certificateFile: client.pem, keyFile: client.key`;

interface LimitCase {
  readonly path: string;
  readonly port: "port" | "mutual";
  readonly tls: string | null;
  readonly whenAway: "Deny" | "Allow";
  /** Of three requests. */
  readonly statuses: readonly number[];
  /** That the service must see for them. */
  readonly calls: number;
}

const counted = { whenAway: "Deny", statuses: [200, 200, 429], calls: 3 } as const;
/** The service cannot be asked, and the document says that requests are refused then. */
const unasked = { whenAway: "Deny", statuses: [429, 429, 429], calls: 0 } as const;

/** How each path's limits are asked for. */
const cases: readonly LimitCase[] = [
  { path: "/known", port: "port", tls: known, ...counted },
  { path: "/mutual", port: "mutual", tls: withCertificate, ...counted },
  { path: "/no-certificate", port: "mutual", tls: known, ...unasked },
  { path: "/other-roots", port: "port", tls: "caFile: other.pem", ...unasked },
  { path: "/other-name", port: "port", tls: `${known}, serverName: other.example`, ...unasked },
  { path: "/in-clear", port: "port", tls: null, ...unasked },
  { path: "/no-file", port: "port", tls: "caFile: none.pem", ...unasked },
  {
    ...{ path: "/allowed", port: "port", tls: "caFile: other.pem", whenAway: "Allow" },
    ...{ statuses: [200, 200, 200], calls: 0 },
  },
];

/** @returns why it was skipped; null when it was not. */
export async function tryLimitsOverTls(directory: string, tell: Tell): Promise<string | null> {
  const python = findPython("grpc");
  if ("missing" in python) return python.missing;
  if (Bun.which("openssl") === null) return "openssl is not installed";
  mkdirSync(directory, { recursive: true });
  const authority = TestAuthority.create(join(directory, "pki"), "limits");
  const other = TestAuthority.create(join(directory, "other"), "others");
  const server = authority.issue({ name: "limits", subjectAltNames: ["DNS:localhost"] });
  const client = authority.issue({ name: "client", subjectAltNames: ["DNS:waypoint.example"] });
  const script = join(repository, "conformance/waypoint/rate_limit/service.py");
  const service = Subprocess.start({
    name: "limits",
    argv: [python.path, script, server.certPath, server.keyPath, authority.certPath],
    logPath: join(directory, "limits.log"),
  });
  const { address, port } = applicationOf(number);
  const application = createServer((request, response) => {
    request.resume();
    response.end("ok");
  }).listen(port, address);
  let stage: SmallStage | null = null;
  try {
    const ports = JSON.parse(await service.waitForLine((line) => line.startsWith("{"), hangMs));
    const text = (path: string): string => readFileSync(path, "utf8");
    const files = {
      "ca.pem": text(authority.certPath),
      "other.pem": text(other.certPath),
      "client.pem": text(client.certPath),
      "client.key": text(client.keyPath),
    };
    stage = await openSmallStage(join(directory, "stage"), {
      number,
      flags: [],
      files,
      documents: documents(ports),
    });
    for (const one of cases) await tryCase(stage, service, one, tell);
  } finally {
    await stage?.stop();
    application.closeAllConnections();
    application.close();
    service.endInput();
    await service.stop();
  }
  return null;
}

async function tryCase(
  stage: SmallStage,
  service: Subprocess,
  { path, statuses, calls }: LimitCase,
  tell: Tell,
): Promise<void> {
  const before = service.lines().length;
  const seen: number[] = [];
  let last: Response | null = null;
  for (const _ of statuses) {
    last = await fetch(`${stage.url}${path}`, { headers: { host: "web.shop.mesh", "x-key": "k" } });
    seen.push(last.status);
    await last.text();
  }
  const lines = service
    .lines()
    .slice(before)
    .filter((line) => line.startsWith("{"));
  const isAsMeant = seen.join() === statuses.join() && lines.length === calls;
  tell(
    `${path.slice(1)}: ${statuses.join(", ")}`,
    isAsMeant ? null : `${seen.join(", ")}; calls: ${lines.join(" ")}`,
  );
  if (calls === 0) return;
  const wanted = {
    domain: "shop",
    entries: [
      ["rule", path.slice(1)],
      ["header:x-key", "k"],
    ],
    client: path === "/mutual" ? ["client"] : [],
  };
  const told = lines[0] ?? "null";
  const isTold = JSON.stringify(JSON.parse(told)) === JSON.stringify(wanted);
  tell(`${path.slice(1)}: the service is told rule and key, and who asks`, isTold ? null : told);
  const left = last?.headers.get("ratelimit") ?? "";
  tell(`${path.slice(1)}: its answer says when`, left.includes("t=30") ? null : `ratelimit: ${left}`);
}

type Ports = Readonly<Record<LimitCase["port"], number>>;

function documents(ports: Ports): string {
  return cases
    .map(
      ({ path, port, tls, whenAway }) => `---
apiVersion: fairlead.dev/v1
kind: RateLimit
metadata: {name: of-${path.slice(1)}, namespace: shop}
spec:
  targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: web}]
  rules:
  - name: ${path.slice(1)}
    match: [{uri: {exact: ${path}}}]
    keys: [{by: Header, name: x-key}]
    limit: {requests: 2, unit: MINUTE}
  store:
    type: RLS
    rls: {address: "localhost:${ports[port]}", domain: shop, timeout: 10s, whenAway: ${whenAway}${tls === null ? "" : `, tls: {${tls}}`}}
`,
    )
    .join("");
}
