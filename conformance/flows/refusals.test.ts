/** What each flow does with a connection that there is no room for, and how it dials. */
import { describe, expect, test } from "bun:test";
import { MeshError } from "../../src/base/errors.ts";
import { proxyLimits } from "../../src/base/limits/proxy.ts";
import type { ConnectOptions } from "../../src/host/host.ts";
import { FlowLab, type LabNode, serviceEntry, shopId, workloadEntry } from "./lab.ts";
import { HbonePeer, svidOf } from "./peer.ts";
import { waypointLab, webService } from "./waypoint_lab.ts";

const mesh =
  workloadEntry("cart", "10.0.0.1") +
  workloadEntry("db", "10.0.0.2") +
  serviceEntry("db", "10.88.0.2", 5432, 15432);

const codes = (node: LabNode) => node.access().map(({ error }) => String(error).split(":")[0]);

/** The register has no room, and has put that on record itself. */
function fill(node: LabNode): void {
  node.node.context.connections.open = () => new MeshError("limit_reached", "local", "there is no room");
}

describe("without room in the register", () => {
  test("a CONNECT is answered 503, plain text is reset, and nothing is dialled", async () => {
    const lab = await FlowLab.create();
    const db = await lab.node("two", ["10.0.0.2", "10.9.0.2"], mesh, {
      applications: "10.0.0.2:15432=10.9.0.2:15432",
    });
    const served = lab.application(db.host, "10.9.0.2:15432");
    const host = lab.world.machine("peer", { addresses: ["10.0.0.1"] }).start();
    const peer = await HbonePeer.dial(lab, host, "10.0.0.2:15008", await svidOf(lab, host, shopId("cart")));
    fill(db);
    const { log } = peer.connect("10.0.0.2:15432");
    await lab.until(() => log.status !== null, "the answer");
    const plain = await lab.connect(host, "10.0.0.2:15432");
    await lab.until(() => plain.closes === 1, "the reset");
    expect([log.status, log.ended, plain.error?.code, served.length]).toEqual([
      "503",
      true,
      "connection_reset",
      0,
    ]);
    // Whoever refused has told it.
    expect(codes(db)).toEqual([]);
  });

  test("a client of this host is turned away", async () => {
    const lab = await FlowLab.create();
    const cart = await lab.node("one", ["10.0.0.1"], mesh, { localPorts: "10.0.0.1:8080=db.shop:5432" });
    fill(cart);
    const client = await lab.connect(cart.host, "10.0.0.1:8080");
    await lab.until(() => client.closes === 1, "the reset");
    expect([client.error?.code, codes(cart), cart.node.tunnel.poolEntries]).toEqual([
      "connection_reset",
      [],
      0,
    ]);
  });

  test("a waypoint answers 503", async () => {
    const { lab, cart, waypoint, web, call } = await waypointLab(webService("TCP"));
    fill(waypoint);
    const client = await call();
    await lab.until(() => client.closes === 1, "the refusal");
    expect(String(cart.access().at(-1)?.error)).toContain("503");
    expect([codes(waypoint), web.node.context.connections.size]).toEqual([[], 0]);
  });
});

describe("plain text to an address of this host that is no workload's", () => {
  test("is refused at once where workloads run here, and waits for them where there are none yet", async () => {
    for (const [documents, waits] of [
      [mesh, false],
      [workloadEntry("cart", "10.0.0.1"), true],
    ] as const) {
      const lab = await FlowLab.create();
      const db = await lab.node("two", ["10.0.0.2", "10.0.0.77"], documents, {
        applications: "10.0.0.77:80=127.0.0.1:8080",
      });
      const outsider = lab.world.machine("outsider", { addresses: ["10.0.0.9"] }).start();
      const from = lab.world.nowMs;
      const client = await lab.connect(outsider, "10.0.0.77:80");
      await lab.until(() => client.closes === 1, "the refusal");
      expect([lab.world.nowMs - from >= proxyLimits.workloadWaitMs, codes(db)]).toEqual([
        waits,
        ["unknown_workload"],
      ]);
    }
  });
});

describe("what is dialled", () => {
  async function scene(target: string, mark: number | null) {
    const lab = await FlowLab.create();
    const cart = await lab.node("one", ["10.0.0.1"], mesh, { localPorts: `10.0.0.1:8080=${target}` });
    const { net, settings } = cart.node.context;
    Object.assign(settings, { mark });
    const dialled: ConnectOptions[] = [];
    const connect = net.connect.bind(net);
    net.connect = (options) => {
      if (options.to.port !== 8080) dialled.push(options);
      return connect(options);
    };
    return { lab, cart, dialled };
  }

  test("has the mark that capture leaves alone, and none without capture", async () => {
    for (const target of ["db.shop:5432", "203.0.113.5:80"])
      for (const mark of [1337, null]) {
        const { lab, cart, dialled } = await scene(target, mark);
        const client = await lab.connect(cart.host, "10.0.0.1:8080");
        await lab.until(() => client.closes === 1, "the refusal", 20_000);
        expect(dialled.map((options) => [options.mark, "mark" in options])).toEqual([
          [mark ?? undefined, mark !== null],
        ]);
      }
  });

  test("a tunnel is of the caller's own address, and a refusal is not tried again from another", async () => {
    const { lab, cart, dialled } = await scene("db.shop:5432", null);
    lab.world.machine("server", { addresses: ["10.0.0.2"] }).start();
    const client = await lab.connect(cart.host, "10.0.0.1:8080");
    await lab.until(() => client.closes === 1, "the refusal", 20_000);
    expect(dialled.map(({ from }) => [from?.ip.text, from?.port, from?.transparent])).toEqual([
      ["10.0.0.1", 0, false],
    ]);
    expect(codes(cart)).toEqual(["connect_refused"]);
  });

  test("an interim answer to a CONNECT is none (RFC 9110 §15.2)", async () => {
    const { lab, cart } = await scene("db.shop:5432", null);
    const server = lab.world.machine("server", { addresses: ["10.0.0.2"] }).start();
    HbonePeer.listen(lab, server, "10.0.0.2:15008", await svidOf(lab, server, shopId("db")), (stream) => {
      stream.sendHeaders([":status", "103"], false);
      stream.sendHeaders([":status", "200"], false);
      stream.sendData(new TextEncoder().encode("answer"), false);
    });
    const client = await lab.connect(cart.host, "10.0.0.1:8080");
    await lab.until(() => client.text === "answer", "the answer");
    expect(client.closes).toBe(0);
  });
});
