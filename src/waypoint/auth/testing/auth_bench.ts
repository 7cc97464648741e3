/** A waypoint's authentication and authorization alone, by documents, with a clock, issuers and authorizers that do what a test says. */
import type { Logger } from "../../../base/log.ts";
import { parseDocuments } from "../../../mesh/documents/parse.ts";
import { formatLocation } from "../../../mesh/location.ts";
import { FakeClock } from "../../../pki/testing/fake_clock.ts";
import { MemoryFiles } from "../../../pki/testing/memory_files.ts";
import { FakeHttp } from "../../../pki/testing/token_issuer.ts";
import type { Exchange, LocalReply } from "../../exchange.ts";
import { type ExchangeParts, exchangeOf } from "../../testing/exchanges.ts";
import type { AskAuthorizer } from "../authorizer.ts";
import { WaypointAuth } from "../waypoint_auth.ts";

export const startMs = Date.parse("2026-07-15T12:00:00Z");

export interface AuthBench {
  readonly auth: WaypointAuth;
  readonly clock: FakeClock;
  readonly http: FakeHttp;
  /** `message {fields}` of each line of the log. */
  readonly log: string[];
  /** Puts documents in force; refused ones count as such. */
  documents(text: string): Promise<void>;
  /** Authenticates and authorizes. */
  decide(parts?: ExchangeParts): Promise<Decided>;
}

export interface Decided {
  readonly exchange: Exchange;
  /** Null: it has a permit. */
  readonly reply: LocalReply | null;
}

const noAuthorizer: AskAuthorizer = () => Promise.resolve({ kind: "failed", reason: "there is none" });

export async function authBench(text: string, ask: AskAuthorizer = noAuthorizer): Promise<AuthBench> {
  const clock = new FakeClock(startMs);
  const http = new FakeHttp();
  const log: string[] = [];
  const logger: Logger = {
    log: (_level, _target, message, fields) => void log.push(`${message} ${JSON.stringify(fields)}`),
  };
  const auth = new WaypointAuth({
    ...{ clock, http, files: new MemoryFiles(), logger, ask },
    trustDomain: "cluster.local",
    rootNamespace: "istio-system",
    isInside: false,
    serviceByKey: () => null,
  });
  const documents = async (next: string): Promise<void> => {
    const { entries, errors } = parseDocuments([{ path: "f", text: next }]);
    const refused = entries.flatMap((entry) => entry.refusedForWaypoint ?? []);
    if (errors.length > 0 && refused.length === 0)
      throw new Error(
        errors.map(({ location, message }) => `${formatLocation(location)} ${message}`).join("\n"),
      );
    await auth.update({ documents: entries.flatMap(({ document }) => document ?? []), refused });
  };
  await documents(text);
  return {
    ...{ auth, clock, http, log, documents },
    decide: async (parts = {}) => {
      const exchange = exchangeOf(parts);
      const reply = (await auth.authenticate(exchange)) ?? (await auth.authorize(exchange));
      if ((reply === null) !== (exchange.permit !== null))
        throw new Error("a permit or an answer, and not both");
      return { exchange, reply };
    },
  };
}

/** For the service that `exchangeOf` calls. */
export const target = "targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: cart}]";

export function document(kind: string, name: string, spec: string, namespace = "shop"): string {
  const group = kind === "AccessCondition" || kind === "MeshConfig" ? "fairlead.dev" : "security.istio.io";
  const place = kind === "MeshConfig" ? "" : `, namespace: ${namespace}`;
  return `---\napiVersion: ${group}/v1\nkind: ${kind}\nmetadata: {name: ${name}${place}}\nspec: ${spec}\n`;
}
