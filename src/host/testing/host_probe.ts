/** Runs as a process of its own, for what a test process cannot do to itself: `host_probe.ts <what>`. */
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer, rootCertificates } from "node:tls";
import { IpAddress } from "../../base/ip.ts";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { encodePem } from "../../pki/der/pem.ts";
import { Forge } from "../../pki/testing/forge.ts";
import { createBunHost } from "../bun/host.ts";
import type { Socket, SocketHandler } from "../host.ts";
import { testAuthority } from "./credentials.ts";

const host = createBunHost();
const loopback = IpAddress.parse("127.0.0.1");
if (loopback === null) throw new Error("loopback");
const ignore: SocketHandler = { onData() {}, onDrain() {}, onEnd() {}, onClose() {} };

switch (process.argv[2]) {
  case "descriptors":
    await descriptors(loopback);
    break;
  case "output":
    output();
    break;
  case "signals":
    signals();
    break;
  case "bug":
    await bug(loopback);
    break;
  case "self":
    await self(loopback);
    break;
  case "detach":
    await detach(process.argv[3] ?? "");
    break;
}

/** Starts a program that goes on, tells it a word once it is there, and waits to be killed. It says which process the program is. */
async function detach(heard: string): Promise<void> {
  const script = `echo "$$" > ${heard}.pid; echo there; read word; echo "word=$word" >> ${heard}; cat > /dev/null
echo "end of input, session $(ps -o sid= -p $$ | tr -d ' ')" >> ${heard}`;
  const started = host.process.detach("sh", ["-c", script]);
  if (!(await started.spoke)) return host.process.exit(1);
  started.tell("hello\n");
  while (!(await host.files.readText(heard).catch(() => "")).includes("word=")) await Bun.sleep(20);
  console.log(`pid ${(await host.files.readText(`${heard}.pid`)).trim()} `);
  await Bun.sleep(3_600_000);
}

/** Accepts until it refuses, says how busy that made it, frees everything, and accepts again. */
async function descriptors(ip: IpAddress): Promise<void> {
  const accepted: Socket[] = [];
  let refused = 0;
  const listener = host.net.listen({ address: { ip, port: 0 }, onRefused: () => refused++ }, (socket) => {
    accepted.push(socket);
    socket.setHandler(ignore);
  });
  console.log(listener.address.port);
  while (refused === 0) await Bun.sleep(5);
  await Bun.sleep(200);
  const before = host.process.cpuMicros();
  await Bun.sleep(500);
  const busyMs = (host.process.cpuMicros() - before) / 1_000;
  const dialled = await host.net
    .connect({ to: listener.address, timeoutMs: 60_000 })
    .then(() => "connected")
    .catch((error) => error.code);
  const atLimit = accepted.length;
  for (const socket of accepted) socket.reset();
  await Bun.sleep(50);
  const again = await host.net.connect({ to: listener.address, timeoutMs: 60_000 });
  again.setHandler(ignore);
  while (accepted.length === atLimit) await Bun.sleep(5);
  console.log(
    JSON.stringify({ busyMs, dialled, refused, atLimit, acceptedAgain: accepted.length - atLimit }),
  );
  process.exit(0);
}

/** Writes to a pipe without a reader, and says on the other one how that went. */
function output(): void {
  const line = `${"x".repeat(1023)}\n`;
  let written = 0;
  while (written < 10_000 && host.process.writeOut(line)) written++;
  const lost = !host.process.writeOut(line);
  host.process.writeError(JSON.stringify({ written, lost }));
  process.exit(0);
}

function signals(): void {
  const stop = host.process.onSignal((signal) => {
    host.process.writeOut(`${signal}\n`);
    if (signal === "SIGTERM") {
      stop();
      host.process.exit(7);
    }
  });
  host.process.writeOut("listening\n");
  setTimeout(() => process.exit(1), 120_000);
}

/** A handler that throws: what the program hears of it, and what becomes of the connection. */
async function bug(ip: IpAddress): Promise<void> {
  const heard: string[] = [];
  host.process.onUncaught((error) => heard.push(error instanceof Error ? error.message : String(error)));
  for (const where of ["accept", "data", "end"]) {
    const fail = (here: string) => {
      if (here === where) throw new Error(`bug in ${here}`);
    };
    const listener = host.net.listen({ address: { ip, port: 0 } }, (socket) => {
      fail("accept");
      socket.setHandler({ ...ignore, onData: () => fail("data"), onEnd: () => fail("end") });
    });
    // Thrown in accept, the reset may come before the connect is done.
    const client = await host.net.connect({ to: listener.address, timeoutMs: 60_000 }).catch(() => null);
    if (client === null) continue;
    client.setHandler({ ...ignore, onClose: (error) => heard.push(`${where}: ${error?.code}`) });
    const before = heard.length;
    client.write(Uint8Array.of(1));
    if (where === "end") await Bun.sleep(30);
    else while (heard.length === before) await Bun.sleep(5);
    client.end();
    while (!heard.some((what) => what.startsWith(`${where}: `))) await Bun.sleep(5);
  }
  console.log(JSON.stringify(heard.filter((what) => !what.startsWith("accept:")).sort()));
  process.exit(0);
}

/** Everything that a compiled binary could lack: FFI, TLS, files, programs. */
async function self(ip: IpAddress): Promise<void> {
  const authority = await testAuthority();
  const options = (credentials: typeof authority.anonymous) => ({
    credentials,
    alpn: ["h2"],
    timeoutMs: 60_000,
  });
  const accepted = Promise.withResolvers<Socket>();
  const listener = host.net.listen({ address: { ip, port: 0 }, tls: true }, accepted.resolve);
  const from = IpAddress.parse("127.0.0.9");
  if (from === null) throw new Error("loopback");
  const plain = await host.net.connect({
    to: listener.address,
    timeoutMs: 60_000,
    from: { ip: from, port: 0, transparent: false },
  });
  const [server, client] = await Promise.all([
    host.net.tlsServer(await accepted.promise, options(authority.server.credentials)),
    host.net.tlsClient(plain, options(authority.client.credentials)),
  ]);
  const ran = await host.process.run("cat", [], "ran");
  const unixPath = join(tmpdir(), `fairlead-probe-${host.process.pid}.sock`);
  const unixAccepted = Promise.withResolvers<Socket>();
  const unix = host.net.listenUnix(unixPath, 0o600, unixAccepted.resolve);
  const unixClient = await host.net.connectUnix(unixPath, 500);
  const unixPeer = host.net.peerCredentials(await unixAccepted.promise);
  unixClient.reset();
  unix.close();
  console.log(
    JSON.stringify({
      standalone: Bun.isStandaloneExecutable,
      sourceByForeignFunction: server.remote.ip.text,
      peers: [server.peerChain.length > 0, client.peerChain.length > 0],
      protocol: `${client.tlsVersion} ${client.alpn}`,
      ran: ran.output,
      unixPeer: unixPeer?.pid === host.process.pid && unixPeer.uid === process.getuid?.(),
      https: await https(ip),
      systemRoots: rootCertificates.length > 100,
    }),
  );
  process.exit(0);
}

async function https(ip: IpAddress): Promise<string> {
  const forge = new Forge(runtimeProvider(), Date.now());
  const root = await forge.ca();
  const leaf = await forge.leaf(root, { uris: [], dnsNames: ["localhost"] });
  const key = encodePem(
    "PRIVATE KEY",
    new Uint8Array(await crypto.subtle.exportKey("pkcs8", leaf.keys.privateKey)),
  );
  const server = createServer({ cert: leaf.pem, key }, (socket) =>
    socket.end("HTTP/1.1 200 OK\r\n\r\nheard"),
  );
  await new Promise<void>((resolve) => server.listen(0, ip.text, resolve));
  const address = server.address();
  const port = address === null || typeof address === "string" ? 0 : address.port;
  const request = {
    method: "GET",
    url: `https://localhost:${port}/`,
    timeoutMs: 60_000,
    maxResponseBytes: 10,
    reach: "any",
  } as const;
  const { body } = await host.http.send({ ...request, trustedRootsPem: root.pem });
  const refused = await host.http.send(request).catch((error) => error.code);
  return `${new TextDecoder().decode(body)}, else ${refused}`;
}
