/** What the kernel's table says of one connection. */
import { expect, test } from "bun:test";
import { assert } from "../../base/assert.ts";
import { IpAddress } from "../../base/ip.ts";
import { unsentIn } from "./unsent.ts";

const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:1F90 0200007F:A1B2 01 0002A3F0:00000010 01:00000014 00000000     0        0 2 2 0 20 4 30 10 -1
   2: 0200007F:A1B2 0100007F:1F90 01 00000000:00000400 00:00000000 00000000     0        0 3 1 0 20 4 30 10 -1
`;
const table6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: B80D0120000000000000000001000000:1F90 B80D0120000000000000000002000000:01BB 01 00000100:00000000 00:00000000
`;

function at(text: string, port: number) {
  const ip = IpAddress.parse(text);
  assert(ip !== null, text);
  return { ip, port };
}

test("the sending queue is the connection's own, in both directions and families", () => {
  const [near, far] = [at("127.0.0.1", 0x1f90), at("127.0.0.2", 0xa1b2)];
  expect(unsentIn(table, near, far)).toBe(0x2a3f0);
  expect(unsentIn(table, far, near)).toBe(0);
  expect(unsentIn(table6, at("2001:db8::1", 0x1f90), at("2001:db8::2", 443))).toBe(0x100);
});

test("a connection that is gone has sent everything", () => {
  expect(unsentIn(table, at("127.0.0.1", 0x1f90), at("127.0.0.3", 0xa1b2))).toBe(0);
  expect(unsentIn("", at("127.0.0.1", 1), at("127.0.0.1", 2))).toBe(0);
});
