/** A whole control plane whose CA's key is in Vault's transit engine, started while that is away in each of the ways it can be. */
import { expect, test } from "bun:test";
import { identityLimits } from "../../base/limits/control.ts";
import { loadControlPlane } from "../../config/load.ts";
import { FakeTransit, transitToken } from "../../control/keys/testing/fake_transit.ts";
import { json } from "../../control/keys/testing/fake_vault.ts";
import type { HttpRequest, HttpResponse } from "../../host/host.ts";
import { LogWriter } from "../../host/log_writer.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { peculiarProvider } from "../../pki/crypto/provider.ts";
import { decodePemLabel } from "../../pki/der/pem.ts";
import { parseCertificate } from "../../pki/x509/certificate.ts";
import { createCertificateRequest } from "../../pki/x509/csr.ts";
import { type RunningControl, startControl } from "./control.ts";
import { controlSources } from "./sources.ts";

const day = 86_400_000;
const origin = "https://vault.example:8200";
const cart = new SpiffeId("cluster.local", "shop", "cart");

class World {
  readonly world = new MemoryWorld(1);
  readonly machine = this.world.machine("control", { addresses: ["10.0.0.1"] });
  readonly transit = new FakeTransit();
  host = this.machine.start();

  constructor() {
    this.world.setName("vault.example", ["10.0.0.9"]);
    this.machine.disk.write("/run/token", transitToken);
    this.vaultIs(this.transit.answer);
  }

  vaultIs(answer: ((request: HttpRequest) => HttpResponse | Promise<HttpResponse>) | null): void {
    this.world.http.set(origin, answer);
  }

  async start(): Promise<RunningControl> {
    this.host = this.machine.start();
    const flags = new Map([
      ["controlListen", ["10.0.0.1:15012"]],
      ["stateDirectory", ["/state"]],
      ["caPlace", ["vault-transit"]],
      ["vault", [origin]],
      ["vaultTokenFile", ["/run/token"]],
      ["cryptoProvider", ["peculiar"]],
    ] as const);
    const { config, errors } = loadControlPlane({ flags, environment: {}, file: null });
    if (config === null) throw new Error(JSON.stringify(errors));
    const logger = new LogWriter(this.host.clock, () => true, "text", "error");
    return await this.world.settle(startControl(this.host, config, logger), this.world.nowMs + 120_000);
  }

  /** What it is to an administrator's commands. */
  sources(control: RunningControl): ReturnType<typeof controlSources> {
    const logger = new LogWriter(this.host.clock, () => true, "text", "error");
    return controlSources(this.host, control.parts, logger, () => control.pending());
  }

  async issue({ parts }: RunningControl): Promise<string> {
    const { csrPem } = await createCertificateRequest(peculiarProvider(), cart);
    const signing = parts.authority.sign({ csrPem, id: cart, lifetimeMs: day });
    return await this.world.settle(
      signing.then(
        ({ chainPem }) => `a chain of ${chainPem.length}`,
        (thrown) => `${thrown.code}: ${thrown.message}`,
      ),
    );
  }

  run(forMs: number): Promise<void> {
    return this.world.run(this.world.nowMs + forMs);
  }
}

function serial(control: RunningControl): string {
  const [der = new Uint8Array()] = decodePemLabel(
    control.parts.serving.credentials.certificateChainPem,
    "CERTIFICATE",
  );
  return parseCertificate(der).serialNumber;
}

const ways: readonly (readonly [
  what: string,
  answer: ((request: HttpRequest) => HttpResponse | Promise<HttpResponse>) | null,
  said: RegExp,
])[] = [
  ["gone", null, /connection refused|ECONNREFUSED/i],
  ["frozen: it takes requests and answers none", () => new Promise(() => {}), /no answer of vault\.example/],
  ["sealed", () => json(503, { errors: ["Vault is sealed"] }), /sealed/],
  ["a standby that sends on", () => json(307, {}), /standby/],
  ["talking of something else", () => html("<html>It works!</html>"), /did not answer with JSON/],
  ["answering 10 MB", () => html(`{"data": "${"x".repeat(10_000_000)}"}`), /longer than allowed/],
  ["forgetting who we are", () => json(403, { errors: ["permission denied"] }), /permission denied/],
  ["without the key", () => json(404, { errors: [] }), /there is no such thing/],
];

function html(text: string): HttpResponse {
  return { status: 200, headers: {}, body: new TextEncoder().encode(text) };
}

for (const [what, answer, said] of ways)
  test(`with Vault ${what}, it starts, serves and administers, says why it issues nothing, and comes back by itself`, async () => {
    const w = new World();
    const first = await w.start();
    expect([first.pending(), await w.issue(first)]).toEqual([[], "a chain of 2"]);
    const shown = serial(first);
    const { rootsPem, crls } = first.parts.authority.bundle.value;
    await w.world.settle(first.stop());

    w.vaultIs(answer);
    const begunMs = w.world.nowMs;
    const second = await w.start();
    expect(w.world.nowMs - begunMs).toBeLessThan(20_000);
    expect(serial(second)).toBe(shown);
    expect(second.parts.authority.bundle.value).toMatchObject({ rootsPem, crls });
    expect(second.pending().join()).toMatch(said);
    expect(await w.issue(second)).toStartWith("authority_unavailable: ");
    // Administration: a revocation is durable and said to wait, a join line has its pin.
    const outcome = await w.world.settle(
      w.sources(second).revocations.revoke({ kind: "identity", value: cart.uri }, "", "ada", ""),
    );
    expect(outcome.serialNumbers).toHaveLength(1);
    expect(outcome.pending).not.toBeNull();
    const { line } = await w.world.settle(
      second.parts.identity.joinTokens.create({ binding: { kind: "node", node: "n" }, createdBy: "ada" }),
    );
    expect(line).toContain("sha256:");

    w.vaultIs(w.transit.answer);
    await w.run(90_000);
    expect(second.pending()).toEqual([]);
    expect(serial(second)).not.toBe(shown);
    expect(second.parts.authority.bundle.value.crls).not.toEqual(crls);
    expect(
      w
        .sources(second)
        .authority.list()
        .map((one) => one.unavailable),
    ).toEqual([null, null]);
    await w.world.settle(second.stop());
  });

test("a last certificate that has ended, or was revoked, is not served with: the refusal says what is missing", async () => {
  for (const spoil of ["ended", "revoked"] as const) {
    const w = new World();
    const first = await w.start();
    if (spoil === "revoked")
      await w.world.settle(
        w.sources(first).revocations.revoke({ kind: "serial", value: serial(first) }, "", "ada", ""),
      );
    await w.world.settle(first.stop());
    w.vaultIs(null);
    if (spoil === "ended") w.machine.jumpWall(identityLimits.servingLifetimeMs + day);
    const outcome = await w.start().then(
      () => "it started",
      (thrown: Error) => thrown.message,
    );
    expect(outcome).toMatch(
      spoil === "ended"
        ? /there is no certificate of before to serve with: it ended at/
        : /there is no certificate of before to serve with: it is revoked/,
    );
  }
});

test("the first start of all needs Vault, and says so", async () => {
  const w = new World();
  w.vaultIs(null);
  const outcome = await w.start().then(
    () => "it started",
    (thrown: Error) => thrown.message,
  );
  expect(outcome).toContain("Vault at https://vault.example:8200");
  // Nothing half made is in the way of the next one.
  w.vaultIs(w.transit.answer);
  expect((await w.start()).pending()).toEqual([]);
});
