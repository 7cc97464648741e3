/** An example of `examples/middleware` in a real waypoint, from its file; with `FAIRLEAD=dist/fairlead` in the built binary. */
import { Database } from "bun:sqlite";
import { copyFileSync, mkdirSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { repository } from "../peer/lab/tools.ts";
import { applicationOf, openSmallStage, type SmallStage } from "./small_stage.ts";

type Tell = (name: string, fault: string | null) => void;

const number = 39;

export async function tryMiddlewareExample(directory: string, tell: Tell): Promise<void> {
  const folder = join(directory, "middleware");
  mkdirSync(folder, { recursive: true });
  copyFileSync(join(repository, "examples/middleware/api_key.ts"), join(folder, "api_key.ts"));
  const database = join(directory, "keys.sqlite");
  const keys = new Database(database);
  keys.run(
    "CREATE TABLE api_keys (sha256 TEXT PRIMARY KEY, owner TEXT NOT NULL, withdrawn INTEGER NOT NULL)",
  );
  const hash = new Bun.CryptoHasher("sha256").update("good").digest("hex");
  keys.run("INSERT INTO api_keys VALUES (?, 'ann', 0)", [hash]);
  keys.close();
  const { address, port } = applicationOf(number);
  const application = createServer((request, response) => {
    request.resume();
    response.end(`${request.headers["x-api-key-owner"]} ${request.headers["x-api-key"]}`);
  }).listen(port, address);
  const documents = `---
apiVersion: fairlead.dev/v1
kind: Middleware
metadata: {name: api-keys, namespace: shop}
spec:
  targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: web}]
  file: api_key.ts
  config: {database: ${database}, namespaces: shop}
`;
  const flags = ["--waypoint-middleware", folder];
  let stage: SmallStage | null = null;
  try {
    stage = await openSmallStage(join(directory, "stage"), { number, flags, documents });
    const ask = async (headers: Readonly<Record<string, string>>): Promise<string> => {
      const answer = await fetch(stage?.url ?? "", { headers: { host: "web.shop.mesh", ...headers } });
      return `${answer.status} ${await answer.text()}`;
    };
    const refused = await ask({ "x-api-key": "bad", "x-api-key-owner": "ann" });
    tell("a wrong key is refused", refused.startsWith("401 ") ? null : refused);
    const passed = await ask({ "x-api-key": "good", "x-api-key-owner": "bob" });
    tell(
      "a right one passes, and the application learns whose it is",
      passed === "200 ann undefined" ? null : passed,
    );
  } finally {
    await stage?.stop();
    application.closeAllConnections();
    application.close();
  }
}
