/** A whole control plane on a machine in memory, with a Vault that a test takes away. */
import "../../testing/loaded.ts";
import { loadControlPlane } from "../../../config/load.ts";
import type { SettingName } from "../../../config/settings.ts";
import { FakePki } from "../../../control/keys/testing/fake_pki.ts";
import { FakeTransit, transitToken } from "../../../control/keys/testing/fake_transit.ts";
import type { HttpRequest, HttpResponse } from "../../../host/host.ts";
import { LogWriter } from "../../../host/log_writer.ts";
import { MemoryWorld } from "../../../host/memory/world.ts";
import { SpiffeId } from "../../../mesh/identity.ts";
import { peculiarProvider } from "../../../pki/crypto/peculiar_provider.ts";
import { decodePemLabel } from "../../../pki/der/pem.ts";
import { TrustVerifier } from "../../../pki/trust/verifier.ts";
import { parseCertificate } from "../../../pki/x509/certificate.ts";
import { createCertificateRequest } from "../../../pki/x509/csr.ts";
import { type RunningControl, startControl } from "../control.ts";
import { controlSources } from "../sources.ts";

const day = 86_400_000;
const origin = "https://vault.example:8200";
export const cart = new SpiffeId("cluster.local", "shop", "cart");

export type Answer = (request: HttpRequest) => HttpResponse | Promise<HttpResponse>;

export class ControlInMemory {
  readonly world = new MemoryWorld(1);
  readonly machine = this.world.machine("control", { addresses: ["10.0.0.1"] });
  readonly transit = new FakeTransit();
  readonly pki = new FakePki();
  readonly #place: "local" | "vault-transit" | "vault-pki";
  host = this.machine.start();

  /** @param place where the CA's key is. */
  constructor(place: "local" | "vault-transit" | "vault-pki") {
    this.#place = place;
    this.pki.nowMs = () => this.machine.wallMs();
    this.world.setName("vault.example", ["10.0.0.9"]);
    this.machine.disk.write("/run/token", transitToken);
    this.vaultIsBack();
  }

  vaultIsBack(): void {
    this.vaultIs(this.#place === "vault-pki" ? this.pki.answer : this.transit.answer);
  }

  vaultIs(answer: Answer | null): void {
    this.world.http.set(origin, answer);
  }

  async start(): Promise<RunningControl> {
    this.host = this.machine.start();
    const flags = new Map<SettingName, readonly string[]>([
      ["controlListen", ["10.0.0.1:15012"]],
      ["stateDirectory", ["/state"]],
      ["caPlace", [this.#place]],
      ["cryptoProvider", ["peculiar"]],
    ]);
    if (this.#place !== "local") flags.set("vault", [origin]).set("vaultTokenFile", ["/run/token"]);
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

  /** Leaf and intermediates. @throws what the signer throws. */
  async chain({ parts }: RunningControl): Promise<readonly Uint8Array[]> {
    const { csrPem } = await createCertificateRequest(peculiarProvider(), cart);
    const signed = await this.world.settle(parts.authority.sign({ csrPem, id: cart, lifetimeMs: day }));
    return signed.chainPem.flatMap((pem) => decodePemLabel(pem, "CERTIFICATE"));
  }

  /** What a node says to it that has the bundle of now. */
  async believed({ parts }: RunningControl, chain: readonly Uint8Array[]): Promise<string> {
    const { clock } = this.host;
    const trust = new TrustVerifier({ clock, provider: peculiarProvider(), trustDomain: "cluster.local" });
    const { rootsPem, crls } = parts.authority.bundle.value;
    trust.setRoots(rootsPem);
    await trust.setCrls(crls.map((bytes) => ({ name: "list", bytes })));
    return await trust.verify(chain, { usage: "clientAuth", identities: null }).then(
      () => "believed",
      ({ code }) => code,
    );
  }

  run(forMs: number): Promise<void> {
    return this.world.run(this.world.nowMs + forMs);
  }
}

export function servingSerial(control: RunningControl): string {
  const [der = new Uint8Array()] = decodePemLabel(
    control.parts.serving.credentials.certificateChainPem,
    "CERTIFICATE",
  );
  return parseCertificate(der).serialNumber;
}
