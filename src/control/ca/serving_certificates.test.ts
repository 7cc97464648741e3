import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { identityLimits } from "../../base/limits/control.ts";
import { silentLogger } from "../../base/log.ts";
import { outcomeOf } from "../../base/testing/rejection.ts";
import { decodePemLabel } from "../../pki/der/pem.ts";
import { parseKeyPin } from "../../pki/trust/pin.ts";
import { ServerCertificateVerifier, type ServerTrust } from "../../pki/trust/server_certificate.ts";
import { parseCertificate } from "../../pki/x509/certificate.ts";
import type { IssuedCertificate } from "../records/certificates.ts";
import { ServingCertificates, type ServingCertificatesOptions } from "./serving_certificates.ts";
import { ControlBench, hour, id, provider, startMs } from "./testing/control_bench.ts";

const controlId = id("istio-system/fairlead-control");

async function start(change: Partial<ServingCertificatesOptions> = {}) {
  const bench = await ControlBench.start();
  const options = {
    clock: bench.clock,
    logger: silentLogger,
    authority: bench.authority,
    id: controlId,
    hosts: ["control.example", "127.0.0.1", "2001:db8::1"],
    ...change,
  };
  return { bench, options };
}

/** As a joining host sees it: with nothing but the pin of the join line. */
async function joins(
  bench: ControlBench,
  serving: ServingCertificates,
  host: string,
  clock = bench.clock,
): Promise<string> {
  const { line } = await bench.identity.joinTokens.create({
    binding: { kind: "node", node: "n" },
    createdBy: "ada",
  });
  const trust: ServerTrust = { kind: "pin", pin: parseKeyPin(line.split(" ").at(-1) ?? "") };
  const verifier = new ServerCertificateVerifier({ clock, provider, host, alternativeHosts: [], trust });
  try {
    const { rootPem } = await verifier.verify(
      decodePemLabel(serving.credentials.certificateChainPem, "CERTIFICATE"),
    );
    return rootPem === bench.authority.ca.rootsPem ? "root" : "another root";
  } catch (error) {
    if (error instanceof MeshError) return error.code;
    throw error;
  }
}

/** Keys are made on other threads. */
async function until(holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 10_000 && !holds(); turn++)
    await new Promise<void>((resolve) => setImmediate(resolve));
  expect(holds()).toBe(true);
}

describe("the control plane's own certificate", () => {
  test("is for each of its names, and ends with the root that the join line pins", async () => {
    const { bench, options } = await start();
    const serving = await ServingCertificates.start(options);
    for (const host of ["control.example", "127.0.0.1", "2001:db8::1"])
      expect(await joins(bench, serving, host)).toBe("root");
    expect(await joins(bench, serving, "other.example")).toBe("certificate_unexpected");
    serving.close();
  });

  test("is the control plane's in the mesh, too", async () => {
    const { bench, options } = await start();
    const serving = await ServingCertificates.start(options);
    const chain = decodePemLabel(serving.credentials.certificateChainPem, "CERTIFICATE");
    const peer = await bench.trust.verify(chain, { usage: "serverAuth", identities: [controlId] });
    expect(peer.id.uri).toBe(controlId.uri);
    serving.close();
  });

  test("is recorded like any other; where it cannot be, it serves all the same", async () => {
    const { bench, options } = await start();
    const rows: IssuedCertificate[] = [];
    const serving = await ServingCertificates.start({
      ...options,
      records: { record: (row) => void rows.push(row) },
    });
    const [leaf = new Uint8Array()] = decodePemLabel(serving.credentials.certificateChainPem, "CERTIFICATE");
    const { serialNumber: serial } = parseCertificate(leaf);
    const { authorityKey: issuerKey } = bench.authority.ca.certificate;
    const { uri } = controlId;
    expect(rows).toMatchObject([
      { serial, issuerKey, identity: uri, requestedBy: uri, notAfterMs: serving.notAfterMs },
    ]);
    serving.close();
    const record = (): never => {
      throw new MeshError("disk_full", "local", "no space left");
    };
    const unrecorded = await ServingCertificates.start({ ...options, records: { record } });
    expect(await joins(bench, unrecorded, "control.example")).toBe("root");
    unrecorded.close();
  });

  test("holds for a host whose clock is some hours behind", async () => {
    const { bench, options } = await start();
    const serving = await ServingCertificates.start(options);
    bench.clock.jumpWall(-12 * hour);
    expect(await joins(bench, serving, "control.example")).toBe("root");
    bench.clock.jumpWall(-24 * hour);
    expect(await joins(bench, serving, "control.example")).toBe("certificate_not_yet_valid");
    serving.close();
  });

  test("is renewed at half of its life, when the authority changes, and after a failure again", async () => {
    const { bench, options } = await start();
    const serving = await ServingCertificates.start(options);
    const half = identityLimits.servingLifetimeMs / 2;
    await bench.clock.advance(half - hour);
    expect(serving.notAfterMs).toBe(startMs + 2 * half);
    await bench.clock.advance(hour);
    await until(() => serving.notAfterMs === startMs + 3 * half);

    const before = serving.credentials;
    bench.authority.bundle.set(1);
    await until(() => serving.credentials !== before);

    const { serving: issuer } = bench.authority;
    bench.authority.serving = () => {
      throw new MeshError("authority_unavailable", "local", "away");
    };
    const held = serving.credentials;
    await bench.clock.advance(half + hour);
    expect(serving.credentials).toBe(held);
    bench.authority.serving = issuer;
    await bench.clock.advance(identityLimits.servingRetryMs);
    await until(() => serving.credentials !== held);
    serving.close();
    await bench.clock.advance(0);
    expect(bench.clock.timers).toBe(0);
  });

  test("is tried again when it could not be made as the authority changed, whatever the clock does meanwhile", async () => {
    for (const jumpMs of [0, -100 * hour]) {
      const { bench, options } = await start();
      bench.clock.jumpWall(-jumpMs);
      const serving = await ServingCertificates.start(options);
      const held = serving.credentials;
      const { serving: issuer } = bench.authority;
      let asked = 0;
      bench.authority.serving = () => {
        asked++;
        throw new MeshError("authority_unavailable", "local", "away");
      };
      bench.authority.bundle.set(1);
      await until(() => asked === 1);
      bench.clock.jumpWall(jumpMs);
      bench.authority.serving = issuer;
      await bench.clock.advance(identityLimits.servingRetryMs);
      await until(() => serving.credentials !== held);
      serving.close();
    }
  });

  test("of before serves when no other can be made as the CA's key is away; for any other failure it does not", async () => {
    const { options } = await start();
    const made = await ServingCertificates.start(options);
    const { credentials, notAfterMs } = made;
    made.close();
    const lines: string[] = [];
    let loads = 0;
    const from = (
      error: Error,
      last: Awaited<ReturnType<NonNullable<ServingCertificatesOptions["kept"]>["load"]>> | null,
    ) =>
      ServingCertificates.start({
        ...options,
        logger: {
          log: (level, _target, message, fields) =>
            void lines.push(`${level} ${message} ${JSON.stringify(fields)}`),
        },
        authority: {
          bundle: options.authority.bundle,
          serving: () => {
            throw error;
          },
        },
        ...(last === null
          ? {}
          : {
              kept: {
                load: async () => {
                  loads++;
                  return last;
                },
                save: async () => {},
              },
            }),
      });
    const away = new MeshError("authority_unavailable", "upstream", "Vault is away");
    const last = { credentials, serialNumber: "07", issuerKey: "k", notBeforeMs: startMs, notAfterMs };
    const serving = await from(away, last);
    expect([serving.credentials, serving.notAfterMs]).toEqual([credentials, notAfterMs]);
    expect(lines).toEqual([
      `warn the control plane serves with its last certificate, and issues nothing {"reason":"Vault is away","not_after":"${new Date(notAfterMs).toISOString()}"}`,
    ]);
    serving.close();
    expect(await outcomeOf(from(away, "it ended"))).toThrow(
      "Vault is away; and there is no certificate of before to serve with: it ended",
    );
    expect(await outcomeOf(from(away, null))).toThrow(away);
    expect(loads).toBe(2);
    const other = new MeshError("configuration", "local", "no such host");
    expect(await outcomeOf(from(other, last))).toThrow(other);
    expect(loads).toBe(2);
  });

  test("that cannot be renewed is told once, and again for another reason", async () => {
    const lines: string[] = [];
    const logger: ServingCertificatesOptions["logger"] = {
      log: (level, _target, message, fields) =>
        void lines.push(`${level} ${message} ${JSON.stringify(fields)}`),
    };
    const { bench, options } = await start({ logger });
    const serving = await ServingCertificates.start(options);
    let reason = "away";
    bench.authority.serving = () => {
      throw new MeshError("authority_unavailable", "local", reason);
    };
    bench.authority.bundle.set(1);
    await bench.clock.advance(0);
    await bench.clock.advance(identityLimits.servingRetryMs);
    const said = "error the control plane's own certificate could not be renewed";
    expect(lines).toEqual([`${said} {"reason":"away"}`]);
    reason = "sealed";
    bench.authority.bundle.set(2);
    await bench.clock.advance(0);
    expect(lines).toEqual([`${said} {"reason":"away"}`, `${said} {"reason":"sealed"}`]);
    serving.close();
  });

  test("of before is replaced half a minute after the CA's key is back, however young it is", async () => {
    const { bench, options } = await start();
    const made = await ServingCertificates.start(options);
    const { credentials, notAfterMs } = made;
    made.close();
    const last = { credentials, serialNumber: "07", issuerKey: "k", notBeforeMs: startMs, notAfterMs };
    const { serving: issuer } = bench.authority;
    bench.authority.serving = () => {
      throw new MeshError("authority_unavailable", "upstream", "Vault is away");
    };
    const kept = { load: async () => last, save: async () => {} };
    const serving = await ServingCertificates.start({ ...options, kept });
    bench.authority.serving = issuer;
    await bench.clock.advance(identityLimits.servingRetryMs - 1);
    expect(serving.credentials).toBe(credentials);
    await bench.clock.advance(1);
    await until(() => serving.credentials !== credentials);
    serving.close();
  });

  test("is made again when the clock is before its beginning, and not when it is there", async () => {
    for (const [beforeMs, isRenewed] of [
      [0, false],
      [1, true],
    ] as const) {
      const { bench, options } = await start();
      const serving = await ServingCertificates.start(options);
      const [leaf = new Uint8Array()] = decodePemLabel(
        serving.credentials.certificateChainPem,
        "CERTIFICATE",
      );
      const { notBeforeMs } = parseCertificate(leaf);
      let made = 0;
      const { serving: issuer } = bench.authority;
      bench.authority.serving = () => {
        made++;
        return issuer.call(bench.authority);
      };
      // Timers do not follow the clock: it is looked at every hour.
      bench.clock.jumpWall(notBeforeMs - startMs - hour - beforeMs);
      await bench.clock.advance(hour);
      expect(made).toBe(isRenewed ? 1 : 0);
      serving.close();
    }
  });

  test("needs names that a certificate can hold", async () => {
    const { maxServingNames } = identityLimits;
    for (const hosts of [
      [],
      [""],
      ["a b"],
      ["*"],
      ["https://control.example"],
      new Array(maxServingNames + 1).fill("a.example"),
    ]) {
      const { options } = await start({ hosts });
      expect(await outcomeOf(ServingCertificates.start(options))).toThrow(MeshError);
    }
  });
});
