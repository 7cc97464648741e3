/** Expressions of tenants in CEL, and requests of strangers that they look at. Behind a NUL: the request's path and lines. */
import { IpAddress } from "../../../src/base/ip.ts";
import type { AccessConditionDocument } from "../../../src/mesh/documents/document.ts";
import { SpiffeId } from "../../../src/mesh/identity.ts";
import { conditionsOf, seenBy } from "../../../src/waypoint/auth/conditions.ts";
import { bytesOf, holds, type Look, latin1, same, type Target } from "../target.ts";

const at = { file: "a.yaml", line: 1, column: 1 };
const ip = IpAddress.loopback(true);

function run(input: Uint8Array, look: Look): void {
  const [expression = "", head = ""] = latin1(input).split("\0", 2);
  const [path = "/", ...lines] = head.split("\n");
  const document = {
    kind: "AccessCondition",
    metadata: {
      key: "k",
      name: "n",
      namespace: "s",
      labels: new Map(),
      annotations: new Map(),
      createdMs: null,
    },
    location: at,
    warnings: [],
    targetRefs: [],
    dryRun: false,
    conditions: [{ at, expression: { value: expression, at }, message: null }],
  } satisfies AccessConditionDocument;
  const [condition] = look.turn(() => conditionsOf(document));
  holds(condition !== undefined, "a condition is kept, whatever it is");
  const seen = seenBy(
    {
      peer: new SpiffeId("cluster.local", "shop", "cart"),
      sourceIp: ip,
      remoteIp: ip,
      destinationIp: ip,
      destinationPort: 80,
      sni: "",
      http: {
        method: "GET",
        host: "a",
        path,
        query: "a=b",
        scheme: "http",
        fields: lines.flatMap((line) => line.split(":", 2)).concat(lines.length % 2 === 0 ? [] : []),
        user: {
          issuer: "i",
          subject: "s",
          audiences: ["a"],
          claims: { groups: ["ops"], level: 3 },
          expiresAtMs: null,
        },
      },
    },
    1_000_000,
  );
  const outcome = look.turn(() => condition.evaluate(seen));
  if (condition.flaw !== null) holds(!outcome.holds, "a flawed condition never holds");
  if (outcome.error !== null) holds(!outcome.holds, "an error denies");
  same(condition.evaluate(seen), outcome, "evaluated again");
}

const expressions = [
  'request.headers["x-a"] == "b" && source.namespace == "shop"',
  'request.auth.claims.groups.exists(g, g == "ops") || request.path.startsWith("/a")',
  'source.address.inNetwork("127.0.0.0/8") ? true : false',
  'request.path.matches("^/a[0-9]+$")',
  "request.time > timestamp('2026-01-01T00:00:00Z') && destination.port in [80, 443]",
  '"%s-%d".format(["a", 1]) == "a-1" && [1, 2].map(x, x * 2).size() == 2',
  '{"a": 1}.a == 1 && has(request.auth.claims.level) && int("3") + 2 - 1 * 4 / 2 % 3 != 0',
  'b"abc" != b"" || r"\\d" == "" || double(1) < 2.0 || !false',
  'request.path.replace("a", "b").lowerAscii().trim().substring(0, 1) == "/"',
  "duration('1h') + request.time > request.time",
];

export const target: Target = {
  maxBytes: 1024,
  seeds: () => expressions.map((text) => bytesOf(`${text}\0/a1\nx-a:b\ncookie:c`)),
  dictionary: [
    "&&",
    "||",
    "==",
    "!=",
    " in ",
    ".exists(x, ",
    ".map(x, ",
    ".size()",
    "request.headers",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    "?",
    ":",
    ".matches(",
    "\0",
    "1u",
    "null",
  ],
  run,
};
