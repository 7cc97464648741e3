/** TLS and PROXY headers of a destination's own, inside HBONE, as DestinationRules say. */
import { describe, expect, test } from "bun:test";
import { Recorder } from "../../src/host/testing/recorder.ts";
import { decodePemLabel } from "../../src/pki/der/pem.ts";
import { parseCertificate } from "../../src/pki/x509/certificate.ts";
import { at, isIpv6, shopId, workloadEntry } from "./lab.ts";
import { svidOf, tlsWith } from "./peer.ts";
import { answering, bytes, ok, waypointEntry, waypointLab, webService } from "./waypoint_lab.ts";

const get = (path: string) => bytes(`GET ${path} HTTP/1.1\r\nHost: web.shop\r\n\r\n`);
const webUri = "spiffe://cluster.local/ns/shop/sa/web";

function rule(trafficPolicy: string): string {
  return `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web.shop
  trafficPolicy: ${trafficPolicy}
---
`;
}

/** An application web that speaks TLS on port 8443, with the certificate of the mesh's own CA, and files for the waypoint. */
async function tlsLab(tls: string) {
  const documents = webService("HTTP").replace("8080", "8443") + rule(`{tls: ${tls}}`);
  const made = await waypointLab(documents, undefined, undefined, { waypointFiles: "/files" });
  const { lab, web, waypoint } = made;
  const svid = await svidOf(lab, web.host, shopId("web"));
  for (const [name, text] of [
    ["roots.pem", lab.authority.rootsPem],
    ["chain.pem", svid.certificateChainPem],
    ["key.pem", svid.privateKeyPem],
  ])
    waypoint.machine.disk.write(`/files/shop/${name}`, text ?? "");
  const inside: Recorder[] = [];
  const options = { ...tlsWith(lab, svid), alpn: [], clientCertificate: "request" } as const;
  web.host.net.listen({ address: at("10.0.0.3:8443"), tls: true }, (socket) => {
    const shaken = web.host.net.tlsServer(socket, options).then((tlsSocket) => {
      const recorder = new Recorder(tlsSocket);
      inside.push(recorder);
      answering(() => ok(`${tlsSocket.peerChain.length} shown`))(recorder);
    });
    shaken.catch(() => {});
  });
  const [der = new Uint8Array(0)] = decodePemLabel(svid.certificateChainPem, "CERTIFICATE");
  return { ...made, inside, serialNumber: parseCertificate(der).serialNumber };
}

describe("TLS inside HBONE", () => {
  test("SIMPLE: the workload is known by the names that the rule gives, and the connection is kept", async () => {
    const made = await tlsLab(`{mode: SIMPLE, caCertificates: roots.pem, subjectAltNames: ["${webUri}"]}`);
    const client = await made.call();
    for (const path of ["/1", "/2"]) {
      client.socket.write(get(path));
      await made.lab.until(
        () => client.text.split("0 shown").length - 1 === Number(path.slice(1)),
        "an answer",
      );
    }
    expect(made.inside.length).toBe(1);
    expect(made.inside[0]?.text).toContain("GET /1 HTTP/1.1");
  });

  test("MUTUAL: the waypoint shows the certificate of its files", async () => {
    const made = await tlsLab(
      `{mode: MUTUAL, caCertificates: roots.pem, clientCertificate: chain.pem, privateKey: key.pem, subjectAltNames: ["${webUri}"]}`,
    );
    const client = await made.call();
    client.socket.write(get("/"));
    await made.lab.until(() => client.text.endsWith("1 shown"), "the answer");
  });

  for (const [what, tls] of [
    [
      "another name",
      "{mode: SIMPLE, caCertificates: roots.pem, subjectAltNames: [spiffe://cluster.local/ns/shop/sa/db]}",
    ],
    ["roots that are not there", `{mode: SIMPLE, caCertificates: none.pem, subjectAltNames: ["${webUri}"]}`],
    [
      "a revocation list that is not there",
      `{mode: SIMPLE, caCertificates: roots.pem, caCrl: none.pem, subjectAltNames: ["${webUri}"]}`,
    ],
  ] as const)
    test(`${what}: 503, and not a byte of the request`, async () => {
      const made = await tlsLab(tls);
      const client = await made.call();
      client.socket.write(get("/"));
      await made.lab.until(() => client.text.includes("HTTP/1.1 503"), "the refusal");
      expect(made.inside.every(({ byteCount }) => byteCount === 0)).toBe(true);
    });

  test("caCrl: a certificate that is on the list is refused, one that is not is taken", async () => {
    const made = await tlsLab(
      `{mode: SIMPLE, caCertificates: roots.pem, caCrl: crl.pem, subjectAltNames: ["${webUri}"]}`,
    );
    const client = await made.call();
    const put = async (serialNumbers: readonly string[], number: bigint) => {
      const revokedAtMs = made.web.host.clock.wallMs();
      const revoked = serialNumbers.map((serialNumber) => ({
        serialNumber,
        revokedAtMs,
        reason: "superseded" as const,
      }));
      const der = await made.lab.authority.revocationList(revoked, number, revokedAtMs + 3_600_000);
      made.waypoint.machine.disk.write("/files/shop/crl.pem", der);
    };
    await put([made.serialNumber], 1n);
    client.socket.write(get("/"));
    await made.lab.until(() => client.text.includes("HTTP/1.1 503"), "the refusal");
    await put([], 2n);
    client.socket.write(get("/"));
    await made.lab.until(() => client.text.endsWith("0 shown"), "the answer");
  });
});

describe("proxyProtocol", () => {
  test("a line of version 1 is before the first request, and no connection is shared by two clients", async () => {
    const documents = webService("HTTP") + rule("{proxyProtocol: {version: V1}}");
    const made = await waypointLab(documents, (peer) => {
      const record = peer.onData.bind(peer);
      peer.onData = (piece) => {
        record(piece);
        if (peer.text.endsWith("\r\n\r\n")) peer.socket.write(bytes(ok("x")));
      };
    });
    const { lab } = made;
    const mesh =
      workloadEntry("db", "10.0.0.2") + workloadEntry("web", "10.0.0.3") + waypointEntry + documents;
    const db = await lab.node("three", ["10.0.0.2"], mesh, { localPorts: "10.0.0.2:8080=web.shop:80" });
    const clients = [await made.call(), await lab.connect(db.host, "10.0.0.2:8080")];
    for (const [index, client] of clients.entries())
      for (const turn of [1, 2]) {
        client.socket.write(get(`/${index}/${turn}`));
        await lab.until(() => client.text.split("\r\n\r\nx").length === turn + 1, "an answer");
      }
    const lines = made.served.map(({ text }) => text.split("PROXY ").length - 1);
    expect(lines).toEqual([1, 1]);
    for (const [index, { text }] of made.served.entries())
      expect(text).toMatch(
        new RegExp(
          `^PROXY TCP${isIpv6 ? 6 : 4} ${["10.0.0.1", "10.0.0.2"][index]} 10.88.0.3 \\d+ 80\\r\\nGET /${index}/1 `,
        ),
      );
  });

  test("version 2 is before TLS", async () => {
    const made = await waypointLab(
      webService("HTTP") +
        rule("{proxyProtocol: {version: V2}, tls: {mode: SIMPLE, insecureSkipVerify: true}}"),
      undefined,
      undefined,
      { waypointFiles: "/files" },
    );
    made.waypoint.machine.disk.write("/etc/ssl/certs/ca-certificates.crt", made.lab.authority.rootsPem);
    const client = await made.call();
    client.socket.write(get("/"));
    await made.lab.until(() => (made.served[0]?.byteCount ?? 0) > (isIpv6 ? 64 : 40), "the bytes");
    const came = made.served[0]?.bytes ?? new Uint8Array(0);
    // Two addresses of 4 or 16 bytes, and two ports.
    const addresses = isIpv6 ? "210024" : "11000c";
    expect(Buffer.from(came.subarray(0, 16)).toString("hex")).toBe(`0d0a0d0a000d0a515549540a21${addresses}`);
    // A record of the handshake (RFC 8446 §5.1) right behind that header.
    expect(came[isIpv6 ? 52 : 28]).toBe(22);
  });
});
