import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { keysLimits } from "../../base/limits/control.ts";
import { silentLogger } from "../../base/log.ts";
import { outcomeOf } from "../../base/testing/rejection.ts";
import { decodePemLabel, encodePem } from "../../pki/der/pem.ts";
import { issueIntermediateCertificate } from "../../pki/issue/authority.ts";
import { CertificateAuthority } from "../../pki/issue/ca.ts";
import { issueRevocationList } from "../../pki/issue/crl.ts";
import { TrustVerifier } from "../../pki/trust/verifier.ts";
import { parseRevocationList } from "../../pki/x509/crl.ts";
import type { RevocationRow } from "../records/keys.ts";
import { Rotation } from "../rotation/rotation.ts";
import type { AuthorityCertifier } from "./authority_certificate.ts";
import { authorityView } from "./authority_view.ts";
import { MeshAuthority } from "./mesh_authority.ts";
import { type OutsideAuthority, OutsideLists } from "./outside_lists.ts";
import { cart, follow, hour, issue, newClock, openMesh, provider, trustDomain } from "./testing/fixture.ts";

/** A CA outside, as Vault's PKI engine is one: it signs intermediates and has a list of its own. */
class OutsideCa implements AuthorityCertifier, OutsideAuthority {
  readonly clock = newClock();
  readonly revoked = new Set<string>();
  asked = 0;
  /** What goes wrong; null for nothing. */
  fault: (() => Promise<Uint8Array>) | null = null;
  readonly root: CertificateAuthority;

  private constructor(root: CertificateAuthority) {
    this.root = root;
  }

  static async create(): Promise<OutsideCa> {
    return new OutsideCa(await CertificateAuthority.create({ clock: newClock(), provider, trustDomain }));
  }

  async certify({ publicKeyInfo }: Parameters<AuthorityCertifier["certify"]>[0]) {
    const nowMs = this.clock.wallMs();
    const made = await issueIntermediateCertificate(this.root.issuer, {
      publicKeyInfo,
      trustDomain,
      notBeforeMs: nowMs - hour,
      notAfterMs: nowMs + 90 * 24 * hour,
    });
    return {
      kind: "intermediate" as const,
      certificatePem: encodePem("CERTIFICATE", made.der),
      chainPem: this.root.rootsPem,
    };
  }

  async revoke(serialNumbers: readonly string[]): Promise<Uint8Array> {
    this.asked++;
    if (this.fault !== null) return await this.fault();
    for (const serial of serialNumbers) this.revoked.add(serial);
    return await this.list();
  }

  async list(): Promise<Uint8Array> {
    const revoked = [...this.revoked].map((serialNumber) => ({
      serialNumber,
      revokedAtMs: this.clock.wallMs(),
      reason: "superseded" as const,
    }));
    return await this.root.revocationList(revoked, BigInt(this.asked), this.clock.wallMs() + 24 * hour);
  }
}

async function rotated() {
  const outside = await OutsideCa.create();
  const {
    clock,
    records,
    authorities,
    mesh: unused,
  } = await openMesh({
    certifier: outside,
    firstKind: "intermediate",
  });
  unused.close();
  const logger = silentLogger;
  const common = { clock, provider, logger, records };
  const mesh = await MeshAuthority.open({ ...common, authorities: authorities.view, outside });
  const knowledge = { nodes: () => [], acknowledged: () => new Map<string, string>() };
  const rotation = new Rotation({ ...common, authorities, mesh, knowledge });
  const old = await issue(mesh, cart, "edge-1");
  await rotation.start("intermediate");
  const replace = async (): Promise<void> => {
    await clock.advance(10);
    await issue(mesh, cart, "edge-1");
    await clock.advance(2_000);
  };
  const believed = async (chain: readonly Uint8Array[]): Promise<string> => {
    const trust = new TrustVerifier({ clock, provider, trustDomain });
    await follow(trust, mesh);
    return await trust.verify(chain, { usage: "clientAuth", identities: null }).then(
      () => "believed",
      (thrown) => thrown.code,
    );
  };
  return { outside, clock, mesh, rotation, old, replace, believed };
}

test("an intermediate below another's root is revoked there when it is replaced, and that list is published beside our own", async () => {
  const { outside, clock, mesh, rotation, old, replace, believed } = await rotated();
  expect(outside.asked).toBe(0);
  await replace();
  expect([outside.asked, mesh.pendingRevocation, rotation.progress().phase]).toEqual([1, null, "idle"]);
  expect(await believed(old.chain)).toBe("certificate_revoked");
  expect(await believed((await issue(mesh, cart)).chain)).toBe("believed");
  // Once a day it is asked for again, and one of yesterday is good while that fails.
  outside.fault = () => Promise.reject(new MeshError("authority_unavailable", "upstream", "Vault is away"));
  clock.jumpWall(keysLimits.listRenewalMs + hour);
  await clock.advance(120_000);
  expect(outside.asked).toBeGreaterThan(1);
  expect([mesh.pendingRevocation, mesh.bundle.value.crls.length]).toEqual([null, 2]);
  rotation.close();
});

test("while that cannot be done it is said, tried again, and what the old one had revoked stays revoked", async () => {
  const stranger = await OutsideCa.create();
  const faults: readonly (readonly [(outside: OutsideCa) => Promise<Uint8Array>, RegExp])[] = [
    [
      () => Promise.reject(new MeshError("authority_unavailable", "upstream", "permission denied")),
      /permission denied/,
    ],
    [(outside) => outside.list(), /does not name the intermediate/],
    [() => stranger.list(), /is not signed by the CA above/],
    [async () => new Uint8Array(1_000).fill(0x30), /.+/],
  ];
  for (const [fault, said] of faults) {
    const { outside, clock, mesh, rotation, old, replace, believed } = await rotated();
    await mesh.revoke({ kind: "identity", uri: cart.uri }, "", "ada");
    await mesh.lift({ kind: "identity", uri: cart.uri });
    outside.fault = () => fault(outside);
    await replace();
    expect(mesh.pendingRevocation).toMatch(said);
    expect(await believed(old.chain)).toBe("certificate_revoked");
    outside.fault = null;
    await clock.advance(60_000);
    expect([mesh.pendingRevocation, await believed(old.chain)]).toEqual([null, "certificate_revoked"]);
    rotation.close();
  }
});

test("its certificates are what its own chain says", async () => {
  const { outside, mesh, rotation } = await rotated();
  const { chain } = await issue(mesh, cart);
  expect(chain).toHaveLength(2);
  expect(mesh.rootPem()).toBe(outside.root.rootsPem);
  expect(decodePemLabel(mesh.bundle.value.rootsPem, "CERTIFICATE")).toHaveLength(1);
  rotation.close();
});

describe("the lists of a CA outside", () => {
  async function bench() {
    const { clock, authorities, records } = await openMesh();
    const { active } = authorities.view.value;
    const root = authorities.view.value.authorities.find(({ kind }) => kind === "root")?.ca;
    if (active === null || root == null) throw new Error("it has a root");
    const asked: (readonly string[])[] = [];
    let number = 1n;
    const listOf = async (by: CertificateAuthority, serials: readonly string[]): Promise<Uint8Array> => {
      const revoked = serials.map((serialNumber) => ({
        ...{ serialNumber, revokedAtMs: clock.wallMs(), reason: "superseded" as const },
      }));
      return await by.revocationList(revoked, number++, clock.wallMs() + 240 * hour);
    };
    const authority: { revoke: OutsideAuthority["revoke"] } = {
      revoke: async (serials) => {
        asked.push(serials);
        return await listOf(root, serials);
      },
    };
    const lists = new OutsideLists({ authority, provider, settings: records.settings });
    const issuerKey = active.above[0]?.authorityKey ?? "";
    const row = { kind: "serial", reason: "", byWhom: "fairlead", atMs: 1, expiresAtMs: null } as const;
    const refresh = (rows: readonly Partial<RevocationRow>[]) =>
      lists.refresh(
        authorityView([active]),
        rows.map((one) => ({ ...row, value: "0a", issuerKey, ...one })),
        clock.wallMs(),
      );
    return { clock, asked, authority, listOf, root, refresh };
  }

  test("are asked for what it has issued and what has not expired", async () => {
    const { clock, asked, refresh } = await bench();
    const nowMs = clock.wallMs();
    expect((await refresh([{ issuerKey: "another" }, { expiresAtMs: nowMs - 1 }])).crls).toEqual([]);
    const { crls, problem } = await refresh([
      { value: "0b", expiresAtMs: nowMs },
      { value: "0c", issuerKey: "another" },
      { value: "0d", expiresAtMs: nowMs - 1 },
      { value: "0e" },
    ]);
    expect([asked, crls.length, problem]).toEqual([[["0b", "0e"]], 1, null]);
  });

  test("are asked for again once they are a day old", async () => {
    const { clock, asked, refresh } = await bench();
    const [first] = (await refresh([{}])).crls;
    const { thisUpdateMs } = parseRevocationList(first ?? new Uint8Array());
    clock.jumpWall(thisUpdateMs + keysLimits.listRenewalMs - 1 - clock.wallMs());
    expect([(await refresh([{}])).crls[0], asked.length]).toEqual([first, 1]);
    clock.jumpWall(1);
    await refresh([{}]);
    expect(asked.length).toBe(2);
  });

  test("are of its key, not only of its name; and a bug of ours is none of its faults", async () => {
    const { authority, listOf, refresh, clock, root } = await bench();
    const namesake = await CertificateAuthority.create({ clock, provider, trustDomain });
    authority.revoke = (serials) => listOf(namesake, serials);
    expect((await refresh([{}])).problem).toContain("is not signed by the CA above the intermediate");
    // Either of the two by itself: its name with another key, and its key with another name.
    for (const [certificate, key] of [
      [root.certificate, namesake.issuer.key],
      [{ ...root.certificate, subject: namesake.certificate.subject }, root.issuer.key],
    ] as const) {
      const nowMs = clock.wallMs();
      authority.revoke = async (serials) => {
        const revoked = serials.map((serialNumber) => ({
          ...{ serialNumber, revokedAtMs: nowMs, reason: "superseded" as const },
        }));
        const list = { revoked, number: 9n, thisUpdateMs: nowMs, nextUpdateMs: nowMs + hour };
        return await issueRevocationList({ certificate, key }, list, clock);
      };
      expect(await refresh([{}])).toEqual({
        crls: [],
        problem: expect.stringContaining("is not signed by the CA above the intermediate"),
      });
    }
    authority.revoke = () => Promise.reject(new TypeError("a bug"));
    expect(await outcomeOf(refresh([{}]))).toThrow(TypeError);
  });
});
