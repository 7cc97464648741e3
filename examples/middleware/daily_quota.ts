/**
 * So many requests a day for each end user, kept in a database so that a restart forgets nothing. Users are known by their token's subject;
 * calls without a token are not counted here.
 *
 * config: `database` the SQLite file, made when it is not there; `requests` a day (default 1000).
 */
import { Database } from "bun:sqlite";
import type { MiddlewareFactory } from "../../src/waypoint/extend/middleware_api.ts";

const make: MiddlewareFactory = (config) => {
  const database = new Database(config.database ?? "quota.sqlite");
  database.run("PRAGMA journal_mode = WAL");
  database.run(
    "CREATE TABLE IF NOT EXISTS quota (user TEXT, day TEXT, used INTEGER NOT NULL, PRIMARY KEY (user, day)) WITHOUT ROWID",
  );
  const take = database.query<{ used: number }, [string, string]>(
    "INSERT INTO quota VALUES (?, ?, 1) ON CONFLICT (user, day) DO UPDATE SET used = used + 1 RETURNING used",
  );
  const forget = database.query<null, [string]>("DELETE FROM quota WHERE day < ?");
  const requests = Number(config.requests ?? 1000);
  let today = "";
  return async (c, next) => {
    const { user } = c.var.mesh;
    if (user === null) return await next();
    const day = new Date().toISOString().slice(0, 10);
    if (day !== today) forget.run(day);
    today = day;
    const used = take.get(`${user.issuer} ${user.subject}`, day)?.used ?? 0;
    if (used > requests) {
      c.var.mesh.count("over");
      return c.json({ error: `the quota of ${requests} requests a day is used up` }, 429);
    }
    await next();
    c.res.headers.set("x-quota-left", String(requests - used));
  };
};

export default make;
