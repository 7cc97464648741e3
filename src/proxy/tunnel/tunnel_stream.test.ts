import { expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { ip, workload } from "../../mesh/testing/fixture.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import type { H2StreamEvents } from "../../wire/h2/stream.ts";
import { resetCode } from "../../wire/hbone.ts";
import { FakeStream } from "../carry/testing/fake_stream.ts";
import type { NodeContext } from "../node_context.ts";
import type { ClientTunnel } from "./client_tunnel.ts";
import { at, shopId } from "./testing/tunnel_scene.ts";
import { openTunnelStream, tunnelTarget } from "./tunnel_stream.ts";

test("a tunnel is dialled at the port of its route, which for HBONE's own is this node's; from the caller's address of its family that this host has", () => {
  const context = {
    settings: { hbonePort: 25008 },
    locals: { isHostAddress: ({ text }: { readonly text: string }) => text !== "10.0.0.1" },
  } as unknown as NodeContext;
  const source = workload("cart", { addresses: [ip("10.0.0.1"), ip("fd00::1"), ip("10.0.0.9")] });
  const target = (to: string, port: number) => {
    const { dial, from } = tunnelTarget(context, source, [shopId("db")], at(to, port));
    return [dial.ip.text, dial.port, from?.text ?? null];
  };
  expect(target("10.0.0.2", 15008)).toEqual(["10.0.0.2", 25008, "10.0.0.9"]);
  expect(target("fd00::2", 15009)).toEqual(["fd00::2", 15009, "fd00::1"]);
  const translated = workload("cart", { addresses: [ip("10.0.0.1")] });
  expect(tunnelTarget(context, translated, [shopId("db")], at("10.0.0.2", 15008)).from).toBeNull();
});

/** A tunnel that does with each CONNECT what is said; null is one that has no room. */
function tunnels(...answers: readonly (((events: H2StreamEvents) => void) | null)[]) {
  const asked: number[] = [];
  const made = answers.map(
    (answer, index) =>
      ({
        request: (_headers: unknown, events: H2StreamEvents) => {
          asked.push(index);
          if (answer === null) return null;
          answer(events);
          return new FakeStream();
        },
      }) as unknown as ClientTunnel,
  );
  return { made, asked };
}

const answers = (events: H2StreamEvents) => events.onHeaders([":status", "200"], false);
const refuses = (events: H2StreamEvents) =>
  events.onReset(resetCode.refusedStream, "remote", new MeshError("h2_reset", "upstream", "refused"));

async function open(...all: readonly (((events: H2StreamEvents) => void) | null)[]) {
  const { made, asked } = tunnels(...all);
  const [first, ...more] = made;
  if (first === undefined) throw new Error("no tunnel");
  const told: number[] = [];
  const opening = openTunnelStream(new FakeClock(0), first, {
    headers: [],
    onTunnel: (tunnel) => void told.push(made.indexOf(tunnel)),
    another: async () => {
      const next = more.shift();
      if (next === undefined) throw new Error("a further tunnel was asked for");
      return next;
    },
  });
  return { opening, made, asked, told };
}

test("the tunnel that answers is the one that is used; no caller is told of one without room", async () => {
  const { opening, made, told } = await open(null, refuses, answers);
  const { tunnel } = await opening;
  expect([made.indexOf(tunnel), told]).toEqual([2, [1, 2]]);
});

test("three tunnels are tried and no more, and the last one says why", async () => {
  const full = await open(null, null, null, answers);
  expect(String(await rejectionOf(full.opening))).toContain("no tunnel had room for a stream");
  expect(full.asked).toEqual([0, 1, 2]);
  const refused = await open(null, refuses, refuses, answers);
  expect(String(await rejectionOf(refused.opening))).toContain("the tunnel refused the stream");
  expect(refused.asked).toEqual([0, 1, 2]);
});
