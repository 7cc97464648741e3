import { expect, test } from "bun:test";
import fc from "fast-check";
import { convertDocuments } from "../convert/convert_documents.ts";
import { context, document } from "../testing/convert_text.ts";
import { completeDocuments } from "./kinds/traffic/testing/complete.ts";
import { parseDocuments } from "./parse.ts";

const good = [
  document("Namespace", "shop", "labels: {istio.io/use-waypoint: w} |"),
  document(
    "WorkloadEntry",
    "shop/w",
    "labels: {app: a}, annotations: {ambient.istio.io/redirection: enabled} | {address: 10.0.0.1, ports: {http: 80}, locality: r/z, weight: 2}",
  ),
  document(
    "ServiceEntry",
    "shop/s",
    "{hosts: [s.shop], addresses: [10.88.0.0/16], ports: [{number: 80, name: http}], resolution: STATIC, workloadSelector: {labels: {app: a}}}",
  ),
  document(
    "PeerAuthentication",
    "shop/p",
    "{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {80: {mode: DISABLE}}}",
  ),
  document(
    "AuthorizationPolicy",
    "shop/p",
    "{action: DENY, rules: [{from: [{source: {principals: ['*'], ipBlocks: [10.0.0.0/8]}}], to: [{operation: {ports: ['80'], paths: [/a]}}], when: [{key: source.ip, values: [10.0.0.1]}]}]}",
  ),
  ...Object.values(completeDocuments),
].join("---\n");

/** Something happened to a good file: parts are gone, doubled, or replaced by what YAML has opinions about. */
const damage = fc.record({
  at: fc.nat(good.length),
  length: fc.nat(30),
  text: fc.oneof(
    fc.string({ maxLength: 6 }),
    fc.constantFrom(
      "null",
      "[]",
      "{}",
      "&a",
      "*a",
      "!x ",
      "|",
      ">",
      "? ",
      "- ",
      ": ",
      "\n---\n",
      "\t",
      "\0",
      "'",
      '"',
      "#",
      "%",
      "~",
      "0x1F",
      "1e400",
      ".nan",
      "[[[[",
      "\u2028",
      "\ufeff",
    ),
  ),
});

test("whatever a file holds, it is read without a throw, and every document comes to something", () => {
  fc.assert(
    fc.property(fc.array(damage, { maxLength: 4 }), (damages) => {
      let text = good;
      for (const { at, length, text: inserted } of damages)
        text = text.slice(0, at) + inserted + text.slice(at + length);
      const { documents, errors } = parseDocuments([{ path: "f", text }]);
      const conversion = convertDocuments(documents, context);
      expect(conversion.statuses).toHaveLength(documents.length);
      const lines = text.split("\n").length;
      for (const { location, message } of [...errors, ...conversion.errors]) {
        expect(location.line).toBeWithin(1, lines + 1);
        expect(location.column).toBeGreaterThanOrEqual(1);
        expect(message).not.toBe("");
      }
    }),
    { numRuns: 150 },
  );
}, 300_000);

test("nor does any text at all throw", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
      parseDocuments([{ path: "f", text }]);
    }),
    { numRuns: 150 },
  );
}, 300_000);
