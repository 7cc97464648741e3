import { describe, expect, test } from "bun:test";
import { asMeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { CertificateAuthority } from "../../pki/issue/ca.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { createCertificateRequest } from "../../pki/x509/csr.ts";
import { GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import { CaClient } from "./ca_client.ts";
import { describeSkew } from "./clock_skew.ts";
import type { UnaryCaller } from "./unary_caller.ts";

const provider = runtimeProvider();
const hour = 3_600_000;
const startMs = Date.parse("2026-07-15T12:00:00Z");
const cart = new SpiffeId("cluster.local", "shop", "cart");

async function bench(impersonates = true) {
  const theirs = new FakeClock(startMs);
  const ca = await CertificateAuthority.create({ clock: theirs, provider, trustDomain: "cluster.local" });
  const clock = new FakeClock(startMs);
  const lines: string[] = [];
  const asked: unknown[] = [];
  /** What the control plane answers in place of a chain. */
  const answer: { of: ((chain: readonly string[]) => readonly string[]) | null } = { of: null };
  const caller = {
    unary: async (_method: unknown, request: { csr: string }) => {
      asked.push({ ...request, csr: "" });
      const { chainPem, rootsPem } = await ca.sign({ csrPem: request.csr, id: cart, lifetimeMs: hour });
      const chain = [...chainPem, rootsPem];
      return { certChain: answer.of === null ? chain : answer.of(chain) };
    },
  };
  const client = new CaClient({
    ...{ clock, impersonates, caller: caller as unknown as UnaryCaller },
    logger: { log: (level, _target, message) => void lines.push(`${level} ${message}`) },
  });
  const { csrPem } = await createCertificateRequest(provider, cart);
  return {
    clock,
    client,
    lines,
    asked,
    answer,
    caller,
    sign: () => client.sign({ csrPem, id: cart, lifetimeMs: hour }),
  };
}

describe("a certificate from a control plane", () => {
  test("is asked for by whose it is, where a host asks for its workloads, and for so many seconds", async () => {
    for (const impersonates of [true, false]) {
      const { sign, asked } = await bench(impersonates);
      const { chainPem, rootsPem } = await sign();
      expect([chainPem.length, rootsPem.includes("BEGIN CERTIFICATE")]).toEqual([1, true]);
      const [request] = asked as { validityDuration: bigint; metadata?: Record<string, unknown> }[];
      expect([request?.validityDuration, request?.metadata?.ImpersonatedIdentity]).toEqual([
        3_600n,
        impersonates ? cart.uri : undefined,
      ]);
    }
  });

  test("comes with roots, in a chain that is not too long", async () => {
    const { sign, answer } = await bench();
    const failure = async () => asMeshError(await rejectionOf(sign()), "io", "local").message;
    answer.of = ([leaf = ""]) => [leaf];
    expect(await failure()).toBe("the control plane sent a certificate without roots");
    const padded = (length: number) => (chain: readonly string[]) => [
      ...chain.slice(0, -1),
      ...new Array<string>(length - chain.length).fill("x"),
      ...chain.slice(-1),
    ];
    answer.of = padded(pkiLimits.maxPathCertificates);
    expect((await sign()).chainPem.length).toBe(pkiLimits.maxPathCertificates - 1);
    answer.of = padded(pkiLimits.maxPathCertificates + 1);
    expect(await failure()).toBe("the control plane sent too long a chain");
  });

  test("tells once that this host's clock is wrong, and once that it is right again", async () => {
    const { clock, client, lines, sign } = await bench();
    await sign();
    expect([client.skewMs, lines]).toEqual([null, []]);
    clock.jumpWall(hour);
    await sign();
    const skewMs = client.skewMs ?? 0;
    expect(Math.abs(skewMs - hour)).toBeLessThanOrEqual(1_000);
    expect(lines.length).toBe(1);
    await sign();
    expect(lines).toEqual([`error ${describeSkew(skewMs)}`]);
    clock.jumpWall(-hour);
    await sign();
    await sign();
    expect([client.skewMs, lines.slice(1)]).toEqual([
      null,
      ["info this host's clock agrees with the control plane's again"],
    ]);
  });

  test("that is refused says what to look at: where the workload is, or what the token is", async () => {
    for (const [impersonates, advice] of [
      [true, "Check that a document places the workload on this node"],
      [false, "Check that the token is of this service account"],
    ] as const) {
      const { sign, caller } = await bench(impersonates);
      caller.unary = () => Promise.reject(new GrpcError(grpcCode.unauthenticated, "no"));
      expect(asMeshError(await rejectionOf(sign()), "io", "local")).toMatchObject({
        code: "control_refused",
        message: expect.stringContaining(advice),
      });
    }
  });
});
