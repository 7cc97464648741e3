/** Envoy as an HBONE node: CONNECT over mutual TLS 1.3 with SPIFFE matching both ways, one worker, RBAC and access log on. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { cartIdentity, dbIdentity, everyPort, type Lab } from "../lab/lab.ts";
import { Subprocess } from "../lab/subprocess.ts";
import type { Found } from "../lab/tools.ts";
import { envoyInbound, envoyOutbound } from "./envoy_config.ts";
import type { AccessRecord, NodeSubject, RunningNode } from "./subject.ts";

export function envoySubject(found: Found): NodeSubject {
  const start = async (lab: Lab, role: "client" | "server", config: unknown): Promise<RunningNode> => {
    if ("missing" in found) throw new Error(found.missing);
    const configPath = join(lab.directory, `envoy_${role}.json`);
    writeFileSync(configPath, JSON.stringify(config, null, 1));
    const process = Subprocess.start({
      name: `envoy ${role}`,
      argv: lab.place[role].command([
        found.path,
        ...["-c", configPath, "--concurrency", "1", "--disable-hot-restart"],
        ...["--log-level", "warning", "--component-log-level", "main:info"],
      ]),
      logPath: join(lab.directory, `envoy_${role}.log`),
    });
    await process.waitForLine((line) => line.includes("starting main dispatch loop"));
    return {
      process,
      dial: (port) =>
        lab.place.kind === "namespaces"
          ? `${lab.place.server.address}:${port}`
          : `${lab.place.client.address}:${port}`,
      accessRecords: () => process.lines().flatMap(accessRecord),
    };
  };
  return {
    name: "envoy",
    missing: "missing" in found ? found.missing : null,
    needsNamespaces: false,
    root: null,
    startInbound: (lab) =>
      start(lab, "server", envoyInbound(lab, lab.authority.issueFor(dbIdentity, "envoy_db"))),
    startOutbound: (lab) => {
      if (lab.place.kind === "namespaces") lab.place.capture(everyPort, 15001);
      return start(lab, "client", envoyOutbound(lab, lab.authority.issueFor(cartIdentity, "envoy_cart")));
    },
  };
}

/** Lines written by the format in envoy_config.ts. */
function accessRecord(line: string): AccessRecord[] {
  if (!line.startsWith("{") || !line.includes('"access"')) return [];
  const fields = JSON.parse(line) as Record<string, string | number | null>;
  const text = (name: string): string | null => {
    const value = fields[name];
    return value === null || value === undefined || value === "" ? null : String(value);
  };
  const flags = text("flags");
  const code = text("code");
  const failed = (flags !== null && flags !== "-") || (code !== null && code !== "0" && code !== "200");
  return [
    {
      direction: fields.access === "inbound" ? "inbound" : "outbound",
      sourceIdentity: text("source"),
      destinationIdentity: text("destination"),
      target: text("target"),
      error: failed ? `${code ?? ""} ${flags ?? ""}`.trim() : null,
      line,
    },
  ];
}
