/** All that is fuzzed. It imports no target: those are loaded by a worker, once their sources are instrumented. */
import type { TargetEntry } from "./target.ts";

export const targetEntries: readonly TargetEntry[] = [
  { name: "http2", file: "http2.ts", sources: ["src/wire/h2/", "src/wire/hpack/"], floor: 69 },
  { name: "hpack", file: "hpack.ts", sources: ["src/wire/hpack/"], floor: 82 },
  {
    name: "http1-requests",
    file: "http1_requests.ts",
    sources: [
      "src/wire/h1/head",
      "src/wire/h1/server_machine",
      "src/wire/h1/content_reader",
      "src/wire/h1/request_rules",
      "src/wire/h1/connect",
      "src/wire/h1/message_writer",
    ],
    floor: 78,
  },
  {
    name: "http1-answers",
    file: "http1_answers.ts",
    sources: [
      "src/wire/h1/head",
      "src/wire/h1/client_machine",
      "src/wire/h1/content_reader",
      "src/wire/h1/answer",
    ],
    floor: 82,
  },
  {
    name: "certificates",
    file: "certificates.ts",
    sources: ["src/pki/der/", "src/pki/x509/", "src/pki/trust/leaf_identity", "src/pki/crypto/public_key"],
    floor: 69,
  },
  {
    name: "resources",
    file: "resources.ts",
    sources: ["src/mesh/codec/decode", "src/mesh/codec/encode", "src/wire/messages/"],
    floor: 80,
  },
  {
    name: "messages",
    file: "messages.ts",
    sources: [
      "src/wire/grpc/message_reader",
      "src/wire/grpc/field_bounds",
      "src/wire/grpc/delta_request",
      "src/wire/grpc/call_headers",
      "src/wire/ads/",
    ],
    floor: 58,
  },
  { name: "documents", file: "documents.ts", sources: ["src/mesh/documents/"], floor: 61 },
  {
    name: "first-bytes",
    file: "first_bytes.ts",
    sources: ["src/wire/tls_hello", "src/wire/socks5", "src/waypoint/serve/detect"],
    floor: 64,
  },
  { name: "replies", file: "replies.ts", sources: ["src/wire/resp", "src/wire/proxy_protocol"], floor: 80 },
  {
    name: "tokens",
    file: "tokens.ts",
    sources: ["src/pki/token/jwks_keys", "src/waypoint/auth/token_text", "src/waypoint/auth/token_locations"],
    floor: 42,
  },
  { name: "conditions", file: "conditions.ts", sources: ["src/waypoint/auth/conditions"], floor: 80 },
  { name: "policies", file: "policy_matchers.ts", sources: ["src/policy/"], floor: 69 },
  { name: "patterns", file: "patterns.ts", sources: ["src/base/pattern/"], floor: 82 },
  {
    name: "texts",
    file: "texts.ts",
    sources: [
      "src/base/ip",
      "src/base/prefix",
      "src/mesh/identity",
      "src/waypoint/match/normalise",
      "src/waypoint/match/head_view",
      "src/waypoint/match/affinity",
      "src/waypoint/telemetry/trace_context",
      "src/waypoint/auth/request_facts",
      "src/wire/headers",
      "src/wire/hbone",
    ],
    floor: 66,
  },
];
