/** What every route of administration is handed. */
import type { Context, Hono } from "hono";
import type { SocketAddress } from "../../base/ip.ts";
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
export function yaml(documents: readonly { readonly text: string }[]): Response {
  const text = documents
    .map((document) => `${document.text.trimEnd()}\n`.replace(/^(?!---)/, "---\n"))
    .join("");
  return new Response(text, { headers: { "content-type": "application/yaml", "cache-control": "no-store" } });
}
