/** Where a connect gets no answer at all. */
import { dlopen } from "bun:ffi";
import { connect, type Socket } from "node:net";
import { assert } from "../../base/assert.ts";
import { IpAddress, type SocketAddress } from "../../base/ip.ts";

/** A port that answers nothing: its queue of connections is full and nothing accepts, so the kernel drops each new SYN. Linux only. */
export async function fullBacklog(): Promise<{ readonly address: SocketAddress; close(): void }> {
  const libc = dlopen("libc.so.6", {
    socket: { args: ["i32", "i32", "i32"], returns: "i32" },
    bind: { args: ["i32", "ptr", "u32"], returns: "i32" },
    listen: { args: ["i32", "i32"], returns: "i32" },
    getsockname: { args: ["i32", "ptr", "ptr"], returns: "i32" },
    close: { args: ["i32"], returns: "i32" },
  }).symbols;
  const fd = libc.socket(2, 1, 0);
  const name = new Uint8Array(new ArrayBuffer(16));
  name.set([2, 0, 0, 0, 127, 0, 0, 1]);
  const length = new Uint32Array(new ArrayBuffer(4)).fill(16);
  assert(libc.bind(fd, name, 16) === 0 && libc.listen(fd, 0) === 0, "a listener that never accepts");
  libc.getsockname(fd, name, length);
  const port = ((name[2] ?? 0) << 8) | (name[3] ?? 0);
  const fillers: Socket[] = [];
  for (let index = 0; index < 4; index++) fillers.push(connect(port, "127.0.0.1").on("error", () => {}));
  await Bun.sleep(50);
  const ip = IpAddress.parse("127.0.0.1");
  assert(ip !== null, "loopback");
  return {
    address: { ip, port },
    close() {
      for (const filler of fillers) filler.destroy();
      libc.close(fd);
    },
  };
}
