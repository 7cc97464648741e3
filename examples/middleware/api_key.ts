/**
 * Lets a request pass only with an API key that is in a database and not withdrawn, and tells the application whose it is.
 *
 * config: `database` the SQLite file, with a table `api_keys (sha256 TEXT PRIMARY KEY, owner TEXT NOT NULL, withdrawn INTEGER NOT NULL)`;
 * `header` (default `x-api-key`); `namespaces` of callers that may use a key at all, by commas (default: any, plain text included).
 */
import { Database } from "bun:sqlite";
import type { MiddlewareFactory } from "../../src/waypoint/extend/middleware_api.ts";

const make: MiddlewareFactory = (config) => {
  const database = new Database(config.database ?? "api_keys.sqlite", { readonly: true });
  const find = database.query<{ owner: string }, [string]>(
    "SELECT owner FROM api_keys WHERE sha256 = ? AND withdrawn = 0",
  );
  const header = config.header ?? "x-api-key";
  const namespaces = config.namespaces?.split(",").map((name) => name.trim()) ?? null;
  return async (c, next) => {
    const { peer } = c.var.mesh;
    // Without a peer (plain text, in sidecar mode) it is not known who calls: that is of no namespace.
    if (namespaces !== null && (peer === null || !namespaces.includes(peer.namespace))) {
      c.var.mesh.count("refused");
      return c.json({ error: "no API key is taken from this caller" }, 403);
    }
    const key = c.req.header(header);
    // The key itself is in no table and no log.
    const found =
      key === undefined ? null : find.get(new Bun.CryptoHasher("sha256").update(key).digest("hex"));
    if (found === null) {
      c.var.mesh.count("refused");
      return c.json({ error: "a valid API key is needed" }, 401);
    }
    c.var.mesh.count("passed");
    c.var.mesh.setRequestHeader(header, null);
    c.var.mesh.setRequestHeader("x-api-key-owner", found.owner);
    await next();
  };
};

export default make;
