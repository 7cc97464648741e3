/** A resolver of the outside, as a program: every name has the address that it is given, over UDP and TCP. `bun resolver.ts IP ADDRESS` */

import { IpAddress } from "../../src/base/ip.ts";
import { framed, MessageReader } from "../../src/dns/tcp_exchange.ts";
import { dnsType, readQuery, writeAnswer } from "../../src/wire/dns/message.ts";

const [listen = "", address = ""] = process.argv.slice(2);
const given = IpAddress.parse(address);

function answer(bytes: Uint8Array): Uint8Array | null {
  const query = readQuery(bytes);
  if (query === null || !("question" in query)) return null;
  const addresses = given !== null && query.type === dnsType.a ? [given] : [];
  return writeAnswer(query, { code: 0, canonicalName: null, addresses, ttlSeconds: 0 }, 65_535);
}

await Bun.udpSocket({
  hostname: listen,
  port: 53,
  binaryType: "uint8array",
  socket: {
    data(socket, data, port, from) {
      const said = answer(data);
      if (said !== null) socket.send(said, port, from);
    },
  },
});
Bun.listen<MessageReader>({
  hostname: listen,
  port: 53,
  socket: {
    open(socket) {
      socket.data = new MessageReader(65_535);
    },
    data(socket, data) {
      for (const message of socket.data.receive(data) ?? []) {
        const said = answer(message);
        if (said !== null) socket.write(framed(said));
      }
    },
  },
});
console.log("listening");
