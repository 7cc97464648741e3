import { expect, test } from "bun:test";
import { proxyLimits } from "../../base/limits/proxy.ts";
import type { Socket, SocketHandler } from "../../host/host.ts";
import { ip } from "../../mesh/testing/fixture.ts";
import { EarlySocket } from "./early_socket.ts";
import { KeptSocket } from "./kept_socket.ts";

function scene() {
  const said: string[] = [];
  let handler: SocketHandler | null = null;
  const socket: Socket = {
    local: { ip: ip("10.0.0.1"), port: 80 },
    remote: { ip: ip("10.0.0.2"), port: 4000 },
    setHandler: (set) => {
      handler = set;
    },
    // Takes three bytes at a time.
    write: (bytes) => Math.min(3, bytes.length),
    end: () => void said.push("end"),
    pause: () => void said.push("pause"),
    resume: () => void said.push("resume"),
    close: () => void said.push("close"),
    reset: () => void said.push("reset"),
    resetAfterSent: () => void said.push("resetAfterSent"),
  };
  const early = new EarlySocket(socket);
  socket.setHandler(early);
  const kept = new KeptSocket(socket, early);
  kept.counters = { bytesToUpstream: 0, bytesToDownstream: 0 };
  return { said, kept, now: () => handler };
}

/** @param onFirst done at the first bytes. */
function listener(name: string, heard: string[], onFirst: () => void = () => {}): SocketHandler {
  let isFirst = true;
  return {
    onData: (bytes) => {
      heard.push(`${name} ${String.fromCharCode(...bytes)}`);
      if (isFirst) onFirst();
      isFirst = false;
    },
    onDrain: () => void heard.push(`${name} drain`),
    onEnd: () => void heard.push(`${name} end`),
    onClose: () => void heard.push(`${name} close`),
  };
}

const bytes = (text: string): Uint8Array => Uint8Array.from(text, (one) => one.charCodeAt(0));

test("a handler that is set while the past is told has the rest of it, and what comes", () => {
  const { kept, now } = scene();
  for (const piece of ["a", "b", "c"]) now()?.onData(bytes(piece));
  const heard: string[] = [];
  const second = listener("second", heard);
  kept.setHandler(listener("first", heard, () => kept.setHandler(second)));
  now()?.onData(bytes("d"));
  now()?.onDrain();
  now()?.onEnd();
  now()?.onClose(null);
  expect(heard).toEqual([
    ...["first a", "second b", "second c", "second d"],
    ...["second drain", "second end", "second close"],
  ]);
});

test("what passes is counted once, both ways, by what the socket takes", () => {
  const { kept, now } = scene();
  now()?.onData(bytes("early"));
  kept.setHandler(listener("one", []));
  now()?.onData(bytes("late"));
  expect([kept.write(bytes("12345")), kept.write(bytes("45"))]).toEqual([3, 2]);
  expect(kept.counters).toEqual({ bytesToUpstream: 9, bytesToDownstream: 5 });
});

test("a client that was held back is heard again, unless whoever has it now holds it back", () => {
  const held = scene();
  held.now()?.onData(new Uint8Array(proxyLimits.earlyBytes + 1));
  expect(held.said).toEqual(["pause"]);
  held.kept.setHandler(listener("one", []));
  expect(held.said).toEqual(["pause", "resume"]);
  const again = scene();
  again.now()?.onData(new Uint8Array(proxyLimits.earlyBytes + 1));
  again.kept.setHandler(listener("one", [], () => again.kept.pause()));
  expect(again.said).toEqual(["pause", "pause"]);
  again.kept.resume();
  expect(again.said.at(-1)).toBe("resume");
  // At the bound it was not held back.
  const free = scene();
  free.now()?.onData(new Uint8Array(proxyLimits.earlyBytes));
  free.kept.setHandler(listener("one", []));
  expect(free.said).toEqual([]);
});
