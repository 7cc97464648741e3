import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { controlLimits } from "../../base/limits/control.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { WatchSource } from "../../base/watch.ts";
import type { Host } from "../../host/host.ts";
import { decodePem, decodePemLabel } from "../../pki/der/pem.ts";
import type { SigningRequest, SigningResponse } from "../../pki/issue/ca.ts";
import { MemoryFiles } from "../../pki/testing/memory_files.ts";
import { parseCertificate } from "../../pki/x509/certificate.ts";
import type { MeshAuthority } from "../keys/mesh_authority.ts";
import { cart, issue, newClock, openMesh, provider, trustDomain, web } from "../keys/testing/fixture.ts";
import { administratorId, bootstrapAdministrator, firstAdministrator } from "./first_administrator.ts";
import type { FirstRole } from "./first_role.ts";

const id = administratorId(trustDomain, "istio-system");
const path = "/state/admin.pem";

async function bench() {
  const clock = newClock();
  const setup = await openMesh({ clock });
  const files = new MemoryFiles();
  const retired = new WatchSource(false);
  const lines: string[] = [];
  const fault: { error: Error | null; active: boolean } = { error: null, active: true };
  const { mesh } = setup;
  const bundle = new WatchSource(mesh.bundle.value);
  mesh.bundle.subscribe((value) => bundle.set(value));
  const authority = {
    bundle,
    authorities: {
      get value() {
        return fault.active ? mesh.authorities.value : { ...mesh.authorities.value, active: null };
      },
    },
    sign: async (request: SigningRequest): Promise<SigningResponse> => {
      if (fault.error !== null) throw fault.error;
      return await mesh.sign(request);
    },
  } as unknown as MeshAuthority;
  const start = () =>
    bootstrapAdministrator({
      host: { clock, files, random: { fill: () => {}, float: () => 0.5 } } as unknown as Host,
      logger: {
        log: (level, _target, message, fields) =>
          void lines.push(`${level} ${message} ${JSON.stringify(fields)}`),
      },
      provider,
      authority,
      id,
      stateDirectory: "/state",
      role: { retired } as unknown as FirstRole,
    });
  const serial = (): string | null => {
    const [der] = decodePemLabel(
      new TextDecoder().decode(files.contents.get(path) ?? new Uint8Array()),
      "CERTIFICATE",
    );
    return der === undefined ? null : parseCertificate(der).serialNumber;
  };
  const issuer = (): string | null => {
    const text = new TextDecoder().decode(files.contents.get(path) ?? new Uint8Array());
    const [der = new Uint8Array()] = decodePemLabel(text, "CERTIFICATE");
    return parseCertificate(der).extensions.authorityKeyId;
  };
  return { clock, setup, mesh, bundle, files, retired, lines, fault, start, serial, issuer };
}

describe("the first administrator", () => {
  test("is a mesh administrator by its identity", () => {
    expect(id.uri).toBe("spiffe://cluster.local/ns/istio-system/sa/fairlead-admin");
    const { path: where, text } = firstAdministrator(id);
    expect(where).toBe("built in");
    expect(text).toContain("role: mesh-admin");
    expect(text).toContain(`subjects: [{identity: "${id.uri}"}]`);
  });

  test("has its key, its chain and the roots in a file that others cannot read, and a new one at half of its life", async () => {
    const { clock, setup, files, lines, start, serial } = await bench();
    const end = await start();
    await clock.advance(0);
    const labels = decodePem(new TextDecoder().decode(files.contents.get(path))).map(({ label }) => label);
    expect([labels, files.modes.get(path)]).toEqual([
      ["PRIVATE KEY", "CERTIFICATE", "CERTIFICATE", "CERTIFICATE"],
      0o600,
    ]);
    expect(lines.filter((line) => line.includes("wrote"))).toEqual([
      `info wrote the first administrator's certificate {"path":"${path}"}`,
    ]);
    const first = serial();
    clock.jumpWall(0.55 * controlLimits.administratorLifetimeMs);
    await clock.advance(pkiLimits.clockCheckMs + 1);
    expect(serial()).not.toBe(first);
    end();
    setup.close();
  });

  test("is written again with other roots, and ends with the function that is given", async () => {
    const { clock, setup, files, start } = await bench();
    const end = await start();
    await clock.advance(0);
    files.contents.delete(path);
    for (const one of [cart, web]) await issue(setup.mesh, one);
    await setup.mesh.revoke({ kind: "identity", uri: cart.uri }, "", "ops");
    await clock.advance(10);
    expect(await files.exists(path)).toBe(true);
    end();
    files.contents.delete(path);
    await setup.mesh.revoke({ kind: "identity", uri: web.uri }, "", "ops");
    await clock.advance(10);
    expect(await files.exists(path)).toBe(false);
    setup.close();
  });

  test("is issued again when all are to be of another authority, and not for its own", async () => {
    const { clock, setup, bundle, start, serial, issuer } = await bench();
    const end = await start();
    await clock.advance(0);
    const first = serial();
    for (const wantedIssuerKeyId of [issuer(), null]) {
      bundle.set({ ...bundle.value, wantedIssuerKeyId });
      await clock.advance(60_000);
      expect(serial()).toBe(first);
    }
    bundle.set({ ...bundle.value, wantedIssuerKeyId: "another" });
    await clock.advance(60_000);
    expect(serial()).not.toBe(first);
    end();
    setup.close();
  });

  test("that is retired has no file, then and at every start", async () => {
    const { clock, setup, files, retired, lines, start } = await bench();
    await start();
    await clock.advance(0);
    expect(await files.exists(path)).toBe(true);
    retired.set(true);
    await clock.advance(10);
    expect(await files.exists(path)).toBe(false);
    lines.length = 0;
    files.put(path, "of a process that was killed");
    const end = await start();
    expect([await files.exists(path), lines]).toEqual([false, []]);
    end();
    setup.close();
  });

  test("starts all the same while its certificate cannot be made for now, or is revoked; another failure is one", async () => {
    for (const [error, said] of [
      [new MeshError("authority_unavailable", "upstream", "Vault is away"), "is not renewed now"],
      [new MeshError("disk_full", "local", "no room"), "is not renewed now"],
      [new MeshError("disk_read_only", "local", "read only"), "is not renewed now"],
      [
        new MeshError("certificate_revoked", "local", "it is revoked"),
        "the first administrator's identity is revoked",
      ],
    ] as const) {
      const { setup, lines, fault, start } = await bench();
      fault.error = error;
      const end = await start();
      expect(lines.filter((line) => line.startsWith("warn") && line.includes(said))).toHaveLength(1);
      end();
      setup.close();
    }
    const { setup, fault, start } = await bench();
    fault.error = new MeshError("certificate_malformed", "local", "no certificate");
    expect(await rejectionOf(start())).toMatchObject({ code: "identity_unavailable" });
    // Known to be of no avail, it is not waited for.
    fault.active = false;
    (await start())();
    setup.close();
  });

  test("whose file cannot be written is told in the log", async () => {
    const { clock, setup, files, lines, start } = await bench();
    files.writeAtomic = async () => {
      throw new MeshError("io", "local", "no such directory");
    };
    const end = await start();
    await clock.advance(0);
    expect(lines.at(-1)).toBe(
      'error the first administrator\'s certificate could not be written {"error":"no such directory"}',
    );
    end();
    setup.close();
  });
});
