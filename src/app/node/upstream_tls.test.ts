import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import { workload } from "../../mesh/testing/fixture.ts";
import { defaultDestinationPolicy, type UpstreamTls } from "../../mesh/traffic/destination_policy.ts";
import type { Endpoint } from "../../waypoint/exchange.ts";
import { NamedFiles } from "../../waypoint/named_files.ts";
import { UpstreamTlsDial } from "./upstream_tls.ts";

const simple: UpstreamTls = {
  namespace: "shop",
  mode: "simple",
  sni: "",
  caCertificates: null,
  caCrl: null,
  clientCertificate: null,
  privateKey: null,
  subjectAltNames: [],
  insecureSkipVerify: false,
  location: { file: "rule.yaml", line: 1, column: 1 },
};
const wanted = { http: 1, authority: "api.example:443" } as const;

function dialOf() {
  const host = new MemoryWorld(1).machine("one", { addresses: ["10.0.0.1"] }).start();
  return new UpstreamTlsDial(host, new NamedFiles(host.files, null));
}

function endpointOf(policy: Partial<typeof defaultDestinationPolicy> | null): Endpoint {
  const made = { workload: workload("web"), port: 443, service: null, servicePort: 443 };
  return policy === null ? made : { ...made, policy: { ...defaultDestinationPolicy, ...policy } };
}

describe("TLS toward a destination", () => {
  test("is none where documents ask for none", () => {
    expect(dialOf().of(endpointOf(null), wanted)).toBeNull();
    expect(dialOf().of(endpointOf({}), wanted)).toBeNull();
  });

  test("is an error, not a connection without it, where it cannot be as it is asked for", () => {
    for (const policy of [{ proxyProtocol: 2 as const }, { tls: { ...simple, caCrl: "/crl" } }]) {
      try {
        dialOf().of(endpointOf(policy), wanted);
        expect.unreachable();
      } catch (error) {
        expect(error instanceof MeshError ? error.code : error).toBe("unsupported");
      }
    }
    expect(dialOf().of(endpointOf({ tls: simple }), wanted)).toBeFunction();
  });
});
