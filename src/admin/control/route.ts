/** What every route of administration is handed. */
import type { Context, Hono } from "hono";
import type { SocketAddress } from "../../base/ip.ts";
import type { SliceClock } from "../../base/turns/time_slice.ts";
import { answerText } from "./json_answer.ts";
import type { Session } from "./session.ts";

/** Who is at the other end of the connection; goes with each request to `app.fetch`. */
export interface AdminPeer {
  readonly chain: readonly Uint8Array[];
  readonly remote: SocketAddress;
  /** To be called when it is known who that is. */
  readonly proven?: () => void;
}

// Types and not interfaces: Hono wants an index signature.
export type ControlEnvironment = { Bindings: AdminPeer; Variables: { session: Session } };

export type ControlApp = Hono<ControlEnvironment>;
export type ControlContext = Context<ControlEnvironment>;

/** Documents as they were written, one behind the other. */
export function yaml(clock: SliceClock, documents: readonly { readonly text: string }[]): Response {
  return answerText(clock, yamlPieces(documents), "application/yaml");
}

function* yamlPieces(documents: readonly { readonly text: string }[]): Generator<string, void> {
  for (const { text } of documents) yield `${text.trimEnd()}\n`.replace(/^(?!---)/, "---\n");
}
