import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import {
  aggregatedDiscovery,
  health,
  istioCertificate,
  join,
  secretDiscovery,
  spiffeWorkload,
} from "../grpc/services.ts";
import { DeltaDiscoveryResponseSchema } from "./envoy_discovery.gen.ts";
import { TrustBundleSchema } from "./fairlead.gen.ts";
import { AuthorizationSchema } from "./istio_authorization.gen.ts";
import { AddressSchema } from "./istio_workload.gen.ts";
import { anyOf, decodeMessage, encodeMessage, newMessage, typeUrl } from "./message.ts";

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

describe("messages", () => {
  test("are on the wire what Envoy's and Istio's definitions say", () => {
    const response = newMessage(DeltaDiscoveryResponseSchema, {
      systemVersionInfo: "1",
      typeUrl: "t",
      nonce: "n",
      removedResources: ["r"],
      controlPlane: { identifier: "c" },
    });
    expect(hex(encodeMessage(DeltaDiscoveryResponseSchema, response))).toBe(
      "0a01312201742a016e3201723a030a0163",
    );
    const address = newMessage(AddressSchema, {
      type: { case: "workload", value: { uid: "u", tunnelProtocol: 1, capacity: 0 } },
    });
    expect(hex(encodeMessage(AddressSchema, address))).toBe("0a092801a2010175da0100");
    const policy = newMessage(AuthorizationSchema, {
      scope: 2,
      groups: [{ rules: [{ matches: [{ destinationPorts: [80] }] }] }],
    });
    expect(hex(encodeMessage(AuthorizationSchema, policy))).toBe("18022a070a0512034a0150");
  });

  test("skip fields that are not known, refuse bytes that are no message, and nesting without end", () => {
    expect(decodeMessage(TrustBundleSchema, Uint8Array.of(0x0a, 1, 0x61, 0x78, 5)).rootsPem).toBe("a");
    expect(() => decodeMessage(TrustBundleSchema, Uint8Array.of(0x0a, 9))).toThrow(MeshError);
    expect(() => decodeMessage(TrustBundleSchema, new Uint8Array(100_000).fill(0x7b))).toThrow(MeshError);
  });

  test("types have the names that xDS uses", () => {
    expect(typeUrl(AddressSchema)).toBe("type.googleapis.com/istio.workload.Address");
    const bytes = Uint8Array.of(1);
    expect(anyOf(TrustBundleSchema, bytes)).toMatchObject({
      typeUrl: "type.googleapis.com/fairlead.v1.TrustBundle",
      value: bytes,
    });
  });
});

test("methods are where the other implementations look for them", () => {
  const groups = [aggregatedDiscovery, secretDiscovery, istioCertificate, join, spiffeWorkload, health];
  expect(groups.flatMap((group) => Object.values(group).map(({ path }) => path))).toEqual([
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
    "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
    "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets",
    "/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets",
    "/istio.v1.auth.IstioCertificateService/CreateCertificate",
    "/fairlead.v1.JoinService/Join",
    "/fairlead.v1.JoinService/Renew",
    "/SpiffeWorkloadAPI/FetchX509SVID",
    "/SpiffeWorkloadAPI/FetchX509Bundles",
    "/SpiffeWorkloadAPI/FetchJWTSVID",
    "/SpiffeWorkloadAPI/FetchJWTBundles",
    "/SpiffeWorkloadAPI/ValidateJWTSVID",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
  ]);
});
