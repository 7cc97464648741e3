/** The certificate of a server: what it is dialled by is in it, each as what it is. */
import { expect, test } from "bun:test";
import { identityLimits } from "../../base/limits/control.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { runtimeProvider } from "../crypto/provider.ts";
import { decodePemLabel } from "../der/pem.ts";
import { FakeClock } from "../testing/fake_clock.ts";
import { isServerFor } from "../trust/server_name.ts";
import { parseCertificate } from "../x509/certificate.ts";
import { CertificateAuthority } from "./ca.ts";
import { issueServingCertificate } from "./server.ts";

const nowMs = Date.parse("2026-11-22T12:00:00Z");
const id = new SpiffeId("mesh.example", "istio-system", "fairlead-control");

async function issue(...hosts: readonly string[]) {
  const ca = await CertificateAuthority.create({
    clock: new FakeClock(nowMs),
    provider: runtimeProvider(),
    trustDomain: "mesh.example",
  });
  const { rootsPem } = ca;
  const request = { issuer: ca.issuer, chainPem: [], rootPem: rootsPem, rootsPem, id, hosts, nowMs };
  const { credentials } = await issueServingCertificate(request);
  const [der = new Uint8Array()] = decodePemLabel(credentials.certificateChainPem, "CERTIFICATE");
  return parseCertificate(der);
}

test("names and addresses are in it as names and addresses, beside the one identity", async () => {
  const leaf = await issue("Control.Example.", "192.0.2.7", "2001:db8::7");
  expect(leaf.extensions.subjectAltNames).toEqual([
    { kind: "uri", value: id.uri },
    { kind: "dns", value: "control.example" },
    { kind: "ip", value: null, bytes: Uint8Array.of(192, 0, 2, 7) },
    {
      kind: "ip",
      value: null,
      bytes: Uint8Array.of(0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7),
    },
  ]);
  for (const [host, isNamed] of [
    ["control.example", true],
    ["192.0.2.7", true],
    ["2001:db8::7", true],
    ["192.0.2.8", false],
    ["example", false],
  ] as const)
    expect([host, isServerFor(leaf, host)]).toEqual([host, isNamed]);
});

test("there are as many as the limit says, and not one more; none is too few", async () => {
  const hosts = Array.from({ length: identityLimits.maxServingNames + 1 }, (_, index) => `h${index}.example`);
  expect((await issue(...hosts.slice(1))).extensions.subjectAltNames).toHaveLength(
    identityLimits.maxServingNames + 1,
  );
  expect(await rejectionOf(issue(...hosts))).toMatchObject({ code: "configuration", blame: "local" });
  expect(await rejectionOf(issue())).toMatchObject({ code: "configuration", blame: "local" });
});
