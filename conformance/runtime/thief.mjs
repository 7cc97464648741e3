/**
 * A peer with a certificate of the mesh, and with its key or without: then it signs with another. For Node, whose OpenSSL believes the public
 * half of a key's file: `thief.mjs client|server IP PORT CERTIFICATE KEY [OTHER-KEY]`. Each line that it prints is what happened.
 */
import { createPrivateKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { connect, createServer } from "node:tls";

const [role, host, port, certificatePath, keyPath, otherKeyPath] = process.argv.slice(2);
const own = readFileSync(keyPath, "utf8");
const common = {
  cert: readFileSync(certificatePath, "utf8"),
  key: otherKeyPath === undefined ? own : mixed(own, readFileSync(otherKeyPath, "utf8")),
  minVersion: "TLSv1.3",
  ALPNProtocols: ["h2"],
  rejectUnauthorized: false,
};

if (role === "client") {
  // RFC 9113 §3.4: whoever is accepted gets the server's SETTINGS.
  const socket = connect({ ...common, host, port: Number(port) }, () =>
    socket.write(
      Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Buffer.of(0, 0, 0, 4, 0, 0, 0, 0, 0)]),
    ),
  );
  socket.on("data", (bytes) => finish(`heard ${bytes.length} bytes`));
  socket.on("error", ({ code }) => finish(`refused ${code}`));
  socket.on("close", () => finish("closed"));
} else {
  const server = createServer({ ...common, requestCert: true }, (socket) => {
    socket.on("error", () => {});
    socket.on("data", (bytes) => console.log(`heard ${bytes.length} bytes`));
  });
  server.on("tlsClientError", ({ code }) => console.log(`refused ${code}`));
  server.listen(Number(port), host, () => console.log("listening"));
}

function finish(said) {
  console.log(said);
  process.exit(0);
}

/** @returns PKCS#8 with the private number of `thief` and the public point of `victim`, both on P-256 (RFC 5915 §3, RFC 5208). */
function mixed(victim, thief) {
  const { x, y } = createPrivateKey(victim).export({ format: "jwk" });
  const { d } = createPrivateKey(thief).export({ format: "jwk" });
  const bytes = (text) => Buffer.from(text, "base64url");
  const point = Buffer.concat([Buffer.of(0, 4), bytes(x), bytes(y)]);
  const key = tlv(0x30, Buffer.of(2, 1, 1), tlv(4, bytes(d)), tlv(0xa1, tlv(3, point)));
  const curve = tlv(0x30, Buffer.from("06072a8648ce3d020106082a8648ce3d030107", "hex"));
  const der = tlv(0x30, Buffer.of(2, 1, 0), curve, tlv(4, key));
  return `-----BEGIN PRIVATE KEY-----\n${der.toString("base64").replace(/.{64}/g, "$&\n")}\n-----END PRIVATE KEY-----\n`;
}

function tlv(tag, ...parts) {
  const body = Buffer.concat(parts);
  const length = body.length < 128 ? Buffer.of(body.length) : Buffer.of(0x81, body.length);
  return Buffer.concat([Buffer.of(tag), length, body]);
}
