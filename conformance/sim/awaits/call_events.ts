/** What happens to calls, and the documents of their mesh. */
import { convertDocuments } from "../../../src/mesh/convert/convert_documents.ts";
import { parseDocuments } from "../../../src/mesh/documents/parse.ts";
import { diffStates, type MeshState } from "../../../src/mesh/store/change.ts";
import type { MeshChange } from "../../../src/mesh/store/store.ts";
import { allowOnly, serviceEntry, workloadEntry } from "../../flows/lab.ts";

export const mesh =
  workloadEntry("cart", "10.0.0.1") +
  workloadEntry("db", "10.0.0.2") +
  serviceEntry("db", "10.88.0.2", 5432, 15432);
const withoutDb = workloadEntry("cart", "10.0.0.1") + serviceEntry("db", "10.88.0.2", 5432, 15432);

/** Events after which the call may not go on, nor be made again. */
export const forbids: readonly string[] = [
  "the caller is revoked",
  "the called one is revoked",
  "a policy denies",
  "the called workload is removed",
  "roots are replaced at the called end",
  "roots are replaced at the calling end",
];
/** Of them, those that are in force at once: not a byte is written after them, not even one that a reset overtakes. */
export const forbidsAtOnce: readonly string[] = [
  "a policy denies",
  "the called workload is removed",
  "roots are replaced at the called end",
];
export const events: readonly string[] = [
  ...forbids,
  "the called node drains",
  "the calling node drains",
  "the calling node is killed",
  "the called node is killed",
  "the client leaves",
  "the application leaves",
  "the caller's SVID is renewed",
  "the called one's SVID is renewed",
];

/** What there is of them where the caller is a peer by hand. */
export const eventsByHand: readonly string[] = [
  "the caller is revoked",
  "a policy denies",
  "the called workload is removed",
  "roots are replaced at the called end",
  "the called node drains",
  "the called node is killed",
  "the client leaves",
  "the application leaves",
];

export const eventsOfHandshake: readonly string[] = [
  "the caller is revoked",
  "roots are replaced at the called end",
  "the called one's SVID is renewed",
  "the called node drains",
];

function changeTo(documents: string): MeshChange {
  const context = { trustDomain: "cluster.local", clusterId: "", network: "", rootNamespace: "istio-system" };
  const read = (text: string): MeshState =>
    convertDocuments(parseDocuments([{ path: "/mesh/base.yaml", text }]).documents, context);
  const change = diffStates(read(mesh), read(documents));
  if (change === null) throw new Error("the documents change nothing");
  return change;
}

export const denial = changeTo(mesh + allowOnly("db", "nobody"));
export const removal = changeTo(withoutDb);
