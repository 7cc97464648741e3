/** Resources that come by xDS: addresses, policies, roots, documents. What is taken is encoded as it was understood. */
import { decodeAddress } from "../../../src/mesh/codec/decode_address.ts";
import { decodeAuthorization, standInFor } from "../../../src/mesh/codec/decode_authorization.ts";
import { encodeService, encodeWorkload } from "../../../src/mesh/codec/encode_address.ts";
import { encodeAuthorization } from "../../../src/mesh/codec/encode_authorization.ts";
import { serviceKey } from "../../../src/mesh/service.ts";
import { ip, workload } from "../../../src/policy/testing/policy_fixtures.ts";
import { PolicyGenerator } from "../../../src/policy/testing/policy_generator.ts";
import {
  decodeAddressMessage,
  decodeAuthorizationMessage,
  encodeAddressMessage,
} from "../../../src/wire/messages/mesh_resources.ts";
import { holds, type Look, same, type Target } from "../target.ts";

function decodedOrNull<T>(decode: () => T): T | null {
  try {
    return decode();
  } catch {
    // The sender's fault; `decoding` says so to it.
    return null;
  }
}

function checkAddress(bytes: Uint8Array, look: Look): void {
  const message = decodedOrNull(() => decodeAddressMessage(bytes));
  const { type } = message ?? {};
  const name =
    type?.case === "workload"
      ? type.value.uid
      : type?.case === "service"
        ? `${type.value.namespace}/${type.value.hostname}`
        : "";
  const read = look.turn(() => decodeAddress(name, bytes, "cluster"));
  if (!read.ok) {
    holds(read.reason.length > 0, "a refusal says why");
    return;
  }
  const { value } = read;
  const own = value.kind === "workload" ? value.workload.uid : serviceKey(value.service);
  const encoded = value.kind === "workload" ? encodeWorkload(value.workload) : encodeService(value.service);
  const again = decodeAddress(own, encoded, "cluster");
  if (!again.ok) throw new Error(`what was taken is refused when it is sent on: ${again.reason}`);
  same(again.value, value, "sent on and taken again");
  same(encodeAgain(again.value), encoded, "its bytes");
}

function encodeAgain(
  value: Extract<ReturnType<typeof decodeAddress>, { readonly ok: true }>["value"],
): Uint8Array {
  return value.kind === "workload" ? encodeWorkload(value.workload) : encodeService(value.service);
}

function checkPolicy(bytes: Uint8Array, look: Look): void {
  const message = decodedOrNull(() => decodeAuthorizationMessage(bytes));
  const name = message === null ? "a/b" : `${message.namespace}/${message.name}`;
  const read = look.turn(() => decodeAuthorization(name, bytes));
  if (!read.ok) {
    // Whatever it may have been about is denied, or its workloads are closed for lack of it.
    const closed = standInFor(name, bytes);
    holds(
      closed === null || (closed.action === "DENY" && !closed.dryRun),
      "what takes a refused policy's place denies",
    );
    return;
  }
  const again = decodeAuthorization(name, encodeAuthorization(read.value));
  if (!again.ok) throw new Error(`what was taken is refused when it is sent on: ${again.reason}`);
  same(again.value, read.value, "sent on and taken again");
}

function run(input: Uint8Array, look: Look): void {
  const bytes = input.slice(1);
  if ((input[0] ?? 0) % 2 === 0) checkAddress(bytes, look);
  else checkPolicy(bytes, look);
}

function seeds(): readonly Uint8Array[] {
  const generator = new PolicyGenerator(7);
  const policies = generator.policies(20).map((policy) => Uint8Array.of(1, ...encodeAuthorization(policy)));
  const full = workload({
    addresses: [ip("10.0.0.1"), ip("2001:db8::1")],
    waypoint: null,
    node: "n1",
    authorizationPolicies: ["shop/a"],
    services: new Map([["shop/cart.mesh", new Map([[80, 8080]])]]),
    applicationTunnel: { protocol: "PROXY", port: 9 },
    labels: new Map([["app", "cart"]]),
    locality: { region: "r", zone: "z", subzone: "s" },
    capacity: 3,
  });
  const service = encodeAddressMessage({
    type: {
      case: "service",
      value: {
        name: "cart",
        namespace: "shop",
        hostname: "cart.mesh",
        addresses: [{ network: "n", address: Uint8Array.of(10, 0, 0, 1), length: 32 }],
        ports: [{ servicePort: 80, targetPort: 8080 }],
        subjectAltNames: ["spiffe://cluster.local/ns/shop/sa/cart"],
        waypoint: {
          destination: { case: "address", value: { network: "", address: Uint8Array.of(10, 0, 0, 2) } },
          hboneMtlsPort: 15008,
        },
        loadBalancing: { routingPreference: [1, 2], mode: 2, healthPolicy: 1 },
      },
    },
  });
  return [...policies, Uint8Array.of(0, ...encodeWorkload(full)), Uint8Array.of(0, ...service)];
}

export const target: Target = { maxBytes: 2048, seeds, run };
