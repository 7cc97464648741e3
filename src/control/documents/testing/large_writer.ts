/**
 * A process that applies changes of many documents until it is killed, and says each one once it is acknowledged. Every version holds one mark
 * in all of its documents. Arguments: directory, number of the round.
 */
import { writeSync } from "node:fs";
import { silentLogger } from "../../../base/log.ts";
import { createBunHost } from "../../../host/bun/host.ts";
import { MeshStore } from "../../../mesh/store/store.ts";
import { context } from "../../../mesh/testing/convert_text.ts";
import { ControlState } from "../../state/control_state.ts";
import { MeshDocuments } from "../mesh_documents.ts";
import { admin, facts } from "./control_plane.ts";

const [directory = "", round = ""] = process.argv.slice(2);
const host = createBunHost();
const state = await ControlState.open(host, directory, silentLogger);
const options = { clock: host.clock, logger: silentLogger, state, store: new MeshStore(), context };
const documents = await MeshDocuments.open({ ...options, facts: () => facts });
writeSync(1, "open\n");
for (let count = 0; ; count++) {
  const mark = `r${round}-${count}`;
  // Fewer and more of them: some versions take documents away.
  const texts = Array.from(
    { length: 150 + (count % 3) * 60 },
    (_, at) =>
      `apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: w${at}, namespace: shop}\nspec: {address: 10.1.${at >> 8}.${at & 255}, serviceAccount: ${mark}}\n`,
  );
  const inputs = [{ source: "many.yaml", text: texts.join("---\n") }];
  const result = await documents.apply(inputs, { ...admin, prune: "all" });
  if (result.outcome !== "applied") throw new Error(JSON.stringify(result));
  writeSync(1, `${result.version} ${mark} ${texts.length}\n`);
}
