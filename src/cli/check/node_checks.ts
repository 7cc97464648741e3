/** What a running node says of itself and of its mesh. */
import { asMeshError } from "../../base/errors.ts";
import { IpAddress } from "../../base/ip.ts";
import { ports } from "../../base/limits/ports.ts";
import { type Json, list, member, number, text } from "../admin_json.ts";
import type { AdminTarget, CliBindings } from "../bindings.ts";
import type { CheckFinding, Code } from "./codes.ts";

/** Peers that are tried, and for how long each; the others are as good a guess. */
const maxPeers = 32;
const peerTimeoutMs = 2_000;
/** Local workloads whose policies are asked about. */
const maxAsked = 64;
/** Findings of one code; the rest are counted. */
const maxOfOneCode = 20;
/** Of its life: renewal is at half. */
const nearlyOver = 0.1;
/** A port that no document excepts: what holds there holds wherever nothing else is said. */
const anyPort = 65_535;

type Ask = (path: string) => Promise<Json | null>;
type Find = (code: Code, subject: string, detail: string) => void;

/** @returns null when no node answers. */
export async function checkNode(
  bindings: Pick<CliBindings, "askAdmin" | "system" | "capture">,
  target: AdminTarget,
): Promise<readonly CheckFinding[] | null> {
  const ask: Ask = async (path) => {
    const { status, text: body } = await bindings.askAdmin(target, "GET", path);
    if (status !== 200) return null;
    try {
      return JSON.parse(body);
    } catch {
      return null;
    }
  };
  let dump: Json | null;
  try {
    dump = await ask("/config_dump");
  } catch (thrown) {
    if (asMeshError(thrown, "io", "upstream").code === "permission_denied") throw thrown;
    return null;
  }
  const found: CheckFinding[] = [];
  const find: Find = (code, subject, detail) => void found.push({ code, subject, detail });
  await checkReadiness(bindings, dump, find);
  await checkCgroups(bindings.capture, dump, find);
  checkCertificates(dump, bindings.system.nowMs(), find);
  await checkDocuments(ask, find);
  await checkControl(ask, find);
  await checkPeers(bindings.system, dump, find);
  await checkPlainText(ask, dump, find);
  checkPolicies(dump, find);
  for (const service of list(dump, "services"))
    if (
      Object.keys((member(service, "endpoints") ?? {}) as object).length === 0 &&
      text(service, "loadBalancer", "mode") !== "Passthrough"
    )
      find("FL303", `${text(service, "namespace")}/${text(service, "hostname")}`, "it has no endpoint");
  return bounded(found);
}

async function checkReadiness(
  { askAdmin }: Pick<CliBindings, "askAdmin">,
  dump: Json,
  find: Find,
): Promise<void> {
  const port = number(dump, "config", "readiness", "port");
  if (port === 0) return;
  const said = member(dump, "config", "readiness", "ip");
  const named = typeof said === "string" ? IpAddress.parse(said) : null;
  const isEverywhere = named === null || named.bytes.every((byte) => byte === 0);
  const address = { ip: isEverywhere ? IpAddress.loopback(true) : named, port };
  try {
    const { status, text: body } = await askAdmin({ sockets: [], address }, "GET", "/healthz/ready");
    if (status !== 200) find("FL202", "node", body.trim());
    if (status !== 200 && body.includes("capture rules"))
      find("FL210", "capture", "the rules are not loaded");
  } catch (thrown) {
    find("FL202", "node", asMeshError(thrown, "io", "upstream").message);
  }
}

async function checkCgroups(capture: CliBindings["capture"], dump: Json, find: Find): Promise<void> {
  const mode = text(dump, "config", "capture", "mode");
  if (mode === "-" || mode === "off") return;
  const named = ["includeCgroups", "excludeCgroups"].flatMap((kind) =>
    list(dump, "config", "capture", kind).map((path) => text(path)),
  );
  for (const path of await capture.missingCgroups([...new Set(named)]))
    find("FL211", path, `there is no cgroup ${path}`);
}

function checkCertificates(dump: Json, nowMs: number, find: Find): void {
  for (const certificate of list(dump, "certificates")) {
    const identity = text(certificate, "identity");
    const state = text(certificate, "state");
    if (state !== "Available") find("FL203", identity, state);
    const [leaf] = list(certificate, "certChain");
    const [from, until] = [Date.parse(text(leaf, "validFrom")), Date.parse(text(leaf, "expirationTime"))];
    if (Number.isNaN(from) || Number.isNaN(until)) continue;
    if (from > nowMs)
      find(
        "FL105",
        identity,
        `its certificate is valid from ${text(leaf, "validFrom")}, which is not yet here`,
      );
    else if (until - nowMs < (until - from) * nearlyOver)
      find("FL204", identity, `it is valid until ${text(leaf, "expirationTime")}`);
  }
}

async function checkDocuments(ask: Ask, find: Find): Promise<void> {
  const answer = await ask("/documents");
  const place = (item: Json): string => `${text(item, "location", "file")}:${text(item, "location", "line")}`;
  for (const document of list(answer, "documents")) {
    const resource = text(document, "resource");
    if (member(document, "accepted") === false)
      find("FL205", resource, `${place(document)}: ${text(document, "error", "message")}`);
    for (const warning of list(document, "warnings"))
      find("FL206", resource, `${place(warning)}: ${text(warning, "message")}`);
  }
  for (const error of list(answer, "errors")) find("FL205", place(error), text(error, "message"));
}

async function checkControl(ask: Ask, find: Find): Promise<void> {
  for (const control of list(await ask("/control"), "control")) {
    const server = text(control, "server");
    if (member(control, "xds", "connected") !== true) find("FL207", server, text(control, "xds", "error"));
    else if (member(control, "xds", "current") === false)
      find("FL208", server, "the mesh is as it was last known");
    const skewMs = number(control, "clockSkewMs");
    if (skewMs !== 0)
      find(
        "FL105",
        server,
        `it is ${Math.round(Math.abs(skewMs) / 1000)} s ${skewMs > 0 ? "ahead of" : "behind"} the control plane's`,
      );
    const error = text(control, "node", "error");
    if (error !== "-") find("FL204", text(control, "node", "identity"), error);
  }
}

async function checkPeers(system: CliBindings["system"], dump: Json, find: Find): Promise<void> {
  const port = number(dump, "config", "ports", "hbone") || ports.hbone;
  const mode = text(dump, "config", "capture", "mode");
  const mark = mode === "-" || mode === "off" ? null : number(dump, "config", "capture", "mark");
  const addresses = new Map<string, string>();
  for (const workload of list(dump, "workloads")) {
    if (text(workload, "protocol") !== "HBONE") continue;
    const address = text(list(workload, "workloadIps")[0]);
    if (address !== "-" && !addresses.has(address) && addresses.size < maxPeers)
      addresses.set(address, `${text(workload, "namespace")}/${text(workload, "name")}`);
  }
  await Promise.all(
    [...addresses].map(async ([address, name]) => {
      const ip = IpAddress.parse(address);
      if (ip === null || (await system.connects({ ip, port }, peerTimeoutMs, mark)) !== false) return;
      find("FL209", address, `${name} at ${address}:${port} does not accept a connection`);
    }),
  );
}

/** Of this host's own workloads: those that it has certificates of. */
async function checkPlainText(ask: Ask, dump: Json, find: Find): Promise<void> {
  const own = new Set(list(dump, "certificates").map((certificate) => text(certificate, "identity")));
  const local = list(dump, "workloads").filter((workload) => {
    const identity = `spiffe://${text(workload, "trustDomain")}/ns/${text(workload, "namespace")}/sa/${text(workload, "serviceAccount")}`;
    return text(workload, "protocol") === "HBONE" && (own.has(identity) || own.has(defaultDomain(identity)));
  });
  for (const workload of local.slice(0, maxAsked)) {
    const name = `${text(workload, "namespace")}/${text(workload, "name")}`;
    const query = new URLSearchParams({ from: "outside", to: name, port: String(anyPort) });
    const answer = await ask(`/explain?${query.toString()}`);
    if (answer !== null && text(answer, "verdict") === "allowed")
      find("FL301", name, "a caller in plain text is let in");
  }
}

/** ztunnel's dump leaves the default out. */
function defaultDomain(identity: string): string {
  return identity.replace("spiffe://-/", "spiffe://cluster.local/");
}

const sourceFields = [
  "namespaces",
  "principals",
  "serviceAccounts",
  "sourceIps",
  "notNamespaces",
  "notPrincipals",
  "notServiceAccounts",
  "notSourceIps",
];

function checkPolicies(dump: Json, find: Find): void {
  for (const policy of list(dump, "policies")) {
    if (text(policy, "action") !== "Allow") continue;
    const index = list(policy, "rules").findIndex((rule) => !namesSource(rule));
    if (index !== -1)
      find(
        "FL302",
        `${text(policy, "namespace")}/${text(policy, "name")}`,
        `its rule ${index} names no source`,
      );
  }
}

/** A rule is clauses of matches. */
function namesSource(rule: Json): boolean {
  return list(rule).some((clause) => {
    const matches = list(clause);
    return (
      matches.length > 0 &&
      matches.every((match) => sourceFields.some((field) => list(match, field).length > 0))
    );
  });
}

function bounded(found: readonly CheckFinding[]): readonly CheckFinding[] {
  const byCode = Map.groupBy(found, ({ code }) => code);
  return [...byCode.values()].flatMap((all) => {
    const [first] = all;
    if (all.length <= maxOfOneCode || first === undefined) return all;
    const rest = all.length - maxOfOneCode;
    return [
      ...all.slice(0, maxOfOneCode),
      { code: first.code, subject: `${rest} more`, detail: `and ${rest} more of this kind` },
    ];
  });
}
