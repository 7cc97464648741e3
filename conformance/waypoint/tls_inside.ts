/** TLS of an application's own inside HBONE, by real processes: OpenSSL's or BoringSSL's server at the one end, ours at the other. */
import { createServer } from "node:https";
import { connect } from "node:net";
import { runtimeProvider } from "../../src/pki/crypto/provider.ts";
import { encodePem } from "../../src/pki/der/pem.ts";
import { Forge, type Forged } from "../../src/pki/testing/forge.ts";
import { applicationOf, openSmallStage, type SmallStage } from "./small_stage.ts";

type Tell = (name: string, fault: string | null) => void;

const number = 34;
const size = 3_000_000;

function rule(namespace: string, tls: string): string {
  return `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: ${namespace}}
spec: {host: web.shop.mesh, trafficPolicy: {tls: ${tls}}}
`;
}

export async function tryTlsInside(directory: string, tell: Tell): Promise<void> {
  const forge = new Forge(runtimeProvider(), Date.now());
  const ca = await forge.ca();
  const server = await forge.leaf(ca, { uris: [], dnsNames: ["web.shop.mesh"] });
  const client = await forge.leaf(ca);
  const { address, port } = applicationOf(number);
  const application = createServer(
    { cert: server.pem, key: await keyOf(server), ca: ca.pem, requestCert: true, rejectUnauthorized: true },
    (request, response) => {
      if (request.url === "/cut") {
        // Without a length the end of the connection is the end of the answer.
        response.useChunkedEncodingByDefault = false;
        response.writeHead(200, { connection: "close" });
        response.write("half an ans", () => setTimeout(() => request.socket.destroy(), 50));
        return;
      }
      let bytes = 0;
      request.on("data", (chunk: Uint8Array) => {
        bytes += chunk.length;
      });
      request.on("end", () => response.end(`${bytes} `.padEnd(size, "x")));
    },
  );
  application.listen(port, address);
  const files = { "ca.pem": ca.pem, "client.pem": client.pem, "client-key.pem": await keyOf(client) };
  const tls =
    "{mode: MUTUAL, caCertificates: ca.pem, clientCertificate: client.pem, privateKey: client-key.pem}";
  let stage: SmallStage | null = null;
  try {
    stage = await openSmallStage(directory, { number, flags: [], documents: rule("shop", tls), files });
    const headers = { host: "web.shop.mesh" };
    for (const turn of [1, 2]) {
      const answer = await fetch(stage.url, { method: "POST", headers, body: new Uint8Array(size) });
      const text = await answer.text();
      const isWhole = answer.status === 200 && text.length === size && text.startsWith(`${size} `);
      tell(`TLS inside HBONE, mutual: ${size} bytes each way (${turn})`, isWhole ? null : `${answer.status}`);
    }
    const other = await fetch(stage.url, { headers: { host: "other.example" } });
    await other.text();
    tell("a server of another name is not asked", other.status === 503 ? null : `${other.status}`);
    const cut = await rawAnswer(stage.url);
    tell(
      "an answer that is cut inside of TLS is no whole answer to the client",
      cut.isWhole ? `the client saw an orderly end after ${JSON.stringify(cut.text)}` : null,
    );
  } finally {
    await stage?.stop();
    application.closeAllConnections();
    application.close();
  }
}

async function keyOf({ keys }: Forged): Promise<string> {
  return encodePem("PRIVATE KEY", new Uint8Array(await crypto.subtle.exportKey("pkcs8", keys.privateKey)));
}

/** By chunks, a whole answer ends with one of length 0; by length it has so many bytes; else it ends without a reset. */
function rawAnswer(url: string): Promise<{ readonly text: string; readonly isWhole: boolean }> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    let text = "";
    const socket = connect(Number(port), hostname);
    const done = (isReset: boolean) => {
      const isChunked = /transfer-encoding: chunked/i.test(text);
      resolve({
        text,
        isWhole: !isReset && (isChunked ? text.endsWith("0\r\n\r\n") : text.includes("200 OK")),
      });
      socket.destroy();
    };
    socket.setTimeout(15_000, () => done(true));
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
    });
    socket.on("end", () => done(false));
    socket.on("error", () => done(true));
    socket.write("GET /cut HTTP/1.1\r\nHost: web.shop.mesh\r\n\r\n");
  });
}
