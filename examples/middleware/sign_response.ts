/**
 * Signs answers, so that a client behind others can tell that this service gave them and when: HMAC-SHA-256 over status, date and content.
 *
 * config: `keyFile` a file that holds the key in hexadecimal; `maxBytes` (default 65536) of content: what is longer is not signed.
 */
import type { MiddlewareFactory } from "../../src/waypoint/extend/middleware_api.ts";

const make: MiddlewareFactory = async (config) => {
  const keyText = (await Bun.file(config.keyFile ?? "signing.key").text()).trim();
  const key = await crypto.subtle.importKey(
    "raw",
    Uint8Array.fromHex(keyText),
    { name: "HMAC", hash: "SHA-256" },
    false,
    ["sign"],
  );
  const maxBytes = Number(config.maxBytes ?? 65_536);
  return async (c, next) => {
    await next();
    const length = Number(c.res.headers.get("content-length") ?? Number.NaN);
    // Without a length it may be a stream, and to sign it would be to hold it up.
    if (!(length <= maxBytes)) return;
    const content = new Uint8Array(await c.res.arrayBuffer());
    const date = new Date().toUTCString();
    const head = new TextEncoder().encode(`${c.res.status}\n${date}\n`);
    const signed = new Uint8Array(head.length + content.length);
    signed.set(head);
    signed.set(content, head.length);
    const signature = new Uint8Array(await crypto.subtle.sign("HMAC", key, signed));
    const headers = new Headers(c.res.headers);
    headers.set("date", date);
    headers.set("x-signature", `hmac-sha256=${signature.toBase64()}`);
    c.res = new Response(content, { status: c.res.status, headers });
  };
};

export default make;
