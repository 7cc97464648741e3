/** A real Envoy takes certificate and roots from our socket, serves mutual TLS with them, and follows every change without a restart. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import type { Svid } from "../../../src/pki/svid/svid.ts";
import { hangMs } from "../../peer/lab/eventually.ts";
import { Subprocess } from "../../peer/lab/subprocess.ts";
import { findEnvoy } from "../../peer/lab/tools.ts";
import type { Tally } from "../../peer/tally.ts";
import { freePort } from "../free_port.ts";
import { envoySdsBootstrap, type SdsWay, sdsWays } from "./envoy_sds_config.ts";
import { cart, IdentitySocket, until, web } from "./identity_socket.ts";

/** @param directory an empty one, of this suite alone. */
export async function envoySdsSuite(tally: Tally, directory: string): Promise<void> {
  const envoy = findEnvoy();
  if ("missing" in envoy) {
    tally.skip("Envoy's secret discovery", envoy.missing);
    return;
  }
  for (const way of sdsWays) await runWay(tally, directory, envoy.path, way);
}

async function runWay(tally: Tally, directory: string, envoyPath: string, way: SdsWay): Promise<void> {
  const socket = await IdentitySocket.open(directory, [`uid=${process.getuid?.() ?? 0}=shop/cart`]);
  const port = freePort();
  const configPath = join(directory, `${way}.json`);
  writeFileSync(configPath, JSON.stringify(envoySdsBootstrap(way, socket.path, port), null, 1));
  const envoy = Subprocess.start({
    name: `envoy ${way}`,
    argv: [
      ...[envoyPath, "-c", configPath, "--concurrency", "1", "--disable-hot-restart"],
      ...["--log-level", "warning", "--component-log-level", "main:info"],
    ],
    logPath: join(directory, `${way}.log`),
  });
  try {
    const run = new SdsRun(socket, envoy, port);
    for (const [name, check] of run.checks()) {
      const title = `envoy ${way}: ${name}`;
      try {
        await check();
        tally.pass(title);
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        tally.fail(title, `${reason}\n${envoy.lines().slice(-5).join("\n")}`);
      }
    }
  } finally {
    await envoy.stop();
    socket.close();
  }
}

interface Answer {
  /** Null when TLS failed, or Envoy hung up. */
  readonly status: number | null;
  /** Envoy's certificate: leaf first. */
  readonly chain: readonly Uint8Array[];
}

class SdsRun {
  readonly #socket: IdentitySocket;
  readonly #envoy: Subprocess;
  readonly #port: number;
  /** A client of a second root, and the roots as they were before it. */
  #second: { readonly svid: Svid; readonly ours: string } | null = null;

  constructor(socket: IdentitySocket, envoy: Subprocess, port: number) {
    this.#socket = socket;
    this.#envoy = envoy;
    this.#port = port;
  }

  /** In this order, on one Envoy. */
  checks(): readonly (readonly [string, () => Promise<void>])[] {
    return [
      ["starts with what it was given", () => this.#starts()],
      ["both resources are acknowledged, none refused", () => this.#acknowledged()],
      ["a client without a certificate is refused", () => this.#expectStatus(null, null)],
      ["a client of another CA is refused", () => this.#refusesForeign()],
      ["takes a rotated certificate", () => this.#rotates()],
      ["takes a second root, and then its clients", () => this.#takesRoot()],
      ["lets a root go, and then its clients", () => this.#losesRoot()],
      ["refuses a client whose certificate was revoked", () => this.#revokes()],
      ["refuses a client whose CA has no revocation list where others have", () => this.#demandsLists()],
      ["is the same process all along", async () => this.#isRunning()],
    ];
  }

  async #starts(): Promise<void> {
    const client = await this.#socket.secrets.svid(web);
    await until(async () => {
      this.#isRunning();
      return (await this.#request(client)).status === 200;
    }, "Envoy to serve");
    const { chain } = await this.#request(client);
    const peer = await this.#socket.trust.verify(chain, { usage: "serverAuth", identities: [cart] });
    equal(peer.id.uri, cart.uri, "Envoy's identity");
  }

  async #acknowledged(): Promise<void> {
    const secrets = () => this.#socket.api.status().secrets;
    await until(() => secrets().every(({ acknowledged }) => acknowledged !== null), "acknowledgements");
    const names = [...new Set(secrets().flatMap((stream) => stream.names))].sort();
    equal(names, ["ROOTCA", "default"], "names");
    equal(
      secrets().map(({ refused }) => refused),
      secrets().map(() => null),
      "refusals",
    );
  }

  async #refusesForeign(): Promise<void> {
    const other = await this.#socket.foreignAuthority();
    await this.#expectStatus(await this.#socket.svidOf(other, web), null);
  }

  async #rotates(): Promise<void> {
    const client = await this.#socket.secrets.svid(web);
    const { serialNumber } = await this.#socket.rotate(cart);
    await until(async () => {
      const { status, chain } = await this.#request(client);
      equal(status, 200, "status during the rotation");
      const peer = await this.#socket.trust.verify(chain, { usage: "serverAuth", identities: [cart] });
      return peer.serialNumber === serialNumber;
    }, "the new certificate");
  }

  async #takesRoot(): Promise<void> {
    const { bundle } = this.#socket;
    const other = await this.#socket.foreignAuthority();
    const svid = await this.#socket.svidOf(other, web);
    await this.#expectStatus(svid, null);
    const ours = bundle.value.rootsPem;
    bundle.set({ ...bundle.value, rootsPem: `${ours}${other.rootsPem}` });
    await until(async () => (await this.#request(svid)).status === 200, "the new root");
    await this.#expectStatus(await this.#socket.secrets.svid(web), 200);
    this.#second = { svid, ours };
  }

  async #losesRoot(): Promise<void> {
    if (this.#second === null) throw new Error("there was no second root");
    const { svid, ours } = this.#second;
    this.#socket.bundle.set({ ...this.#socket.bundle.value, rootsPem: ours });
    await until(async () => (await this.#request(svid)).status === null, "the root to be gone");
    await this.#expectStatus(await this.#socket.secrets.svid(web), 200);
  }

  async #revokes(): Promise<void> {
    const { bundle, secrets } = this.#socket;
    const revoked = await secrets.svid(web);
    bundle.set({ ...bundle.value, crls: [await this.#socket.revocationList([])] });
    await Bun.sleep(200);
    await this.#expectStatus(revoked, 200);
    bundle.set({ ...bundle.value, crls: [await this.#socket.revocationList([revoked.serialNumber])] });
    await until(async () => (await this.#request(revoked)).status === null, "the revocation");
    await this.#expectStatus(await this.#socket.rotate(web), 200);
  }

  /** BoringSSL's rule, not ours: why every CA that issues leaves must have a list, be it empty. */
  async #demandsLists(): Promise<void> {
    const { bundle, secrets } = this.#socket;
    const other = await this.#socket.foreignAuthority();
    const svid = await this.#socket.svidOf(other, web);
    const rootsPem = `${bundle.value.rootsPem}${other.rootsPem}`;
    const [ours] = bundle.value.crls;
    if (ours === undefined) throw new Error("there was no list");
    bundle.set({ rootsPem, crls: [ours] });
    await Bun.sleep(300);
    await this.#expectStatus(svid, null);
    bundle.set({ rootsPem, crls: [ours, await this.#socket.revocationList([], other)] });
    await until(async () => (await this.#request(svid)).status === 200, "the second list");
    await this.#expectStatus(await secrets.svid(web), 200);
  }

  #isRunning(): void {
    if (!this.#envoy.running) throw new Error("Envoy has ended");
  }

  async #expectStatus(svid: Svid | null, status: number | null): Promise<void> {
    equal((await this.#request(svid)).status, status, "status");
  }

  #request(svid: Svid | null): Promise<Answer> {
    return new Promise((resolve) => {
      const credentials = svid === null ? {} : { cert: svid.certificateChainPem, key: svid.privateKeyPem };
      // The caller checks whose certificate it is: it holds no DNS name.
      const client = connect({
        host: "127.0.0.1",
        port: this.#port,
        rejectUnauthorized: false,
        ...credentials,
      });
      let chain: readonly Uint8Array[] = [];
      let text = "";
      client.on("secureConnect", () => {
        chain = [new Uint8Array(client.getPeerCertificate(true).raw)];
        client.write("GET / HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n");
      });
      client.on("data", (bytes) => {
        text += bytes.toString();
      });
      client.on("error", () => client.destroy());
      client.on("close", () => {
        const status = /^HTTP\/1\.1 ([0-9]{3}) /.exec(text)?.[1];
        resolve({ status: status === undefined ? null : Number(status), chain });
      });
      client.setTimeout(hangMs, () => client.destroy());
    });
  }
}

function equal(found: unknown, expected: unknown, what: string): void {
  if (!Bun.deepEquals(found, expected, true))
    throw new Error(`${what}: ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`);
}
