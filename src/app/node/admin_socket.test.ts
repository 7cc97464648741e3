/** The administration socket on a machine with several users. */
import { describe, expect, test } from "bun:test";
import type { SocketBindings } from "../../admin/node/app.ts";
import { Taps } from "../../admin/node/tap.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import type { AdminSocketConfig } from "../../config/node/config.ts";
import type { Host } from "../../host/host.ts";
import { LogWriter } from "../../host/log_writer.ts";
import { type MemoryMachine, MemoryWorld } from "../../host/memory/world.ts";
import { askAdmin, followAdmin } from "../command/admin_client.ts";
import { mayAdminister, openAdminSocket, type SocketApp } from "./admin_socket.ts";

const path = "/run/fairlead/admin.sock";
const app = {
  fetch: async (request: Request, { caller }: SocketBindings) =>
    new Response(`${request.method} ${new URL(request.url).pathname} by ${caller}`),
};

interface Opened {
  readonly world: MemoryWorld;
  readonly machine: MemoryMachine;
  readonly logger: LogWriter;
  readonly opened: string | null;
  readonly log: readonly string[];
  close(): void;
}

/** A node of user 900, with that socket. */
async function open(
  config: Partial<AdminSocketConfig> | null,
  serve: (logger: LogWriter) => SocketApp = () => app,
): Promise<Opened> {
  const world = new MemoryWorld(1);
  const machine = world.machine("one", { addresses: ["10.0.0.1"] });
  const node: Host = machine.start({ user: { uid: 900, gid: 900 } });
  for (const folder of ["/etc", "/run/fairlead"]) await world.settle(node.files.makeDirectory(folder, 0o755));
  await world.settle(
    node.files.writeAtomic("/etc/group", new TextEncoder().encode("root:x:0:\nmesh-ops:x:700:ada\n"), 0o644),
  );
  const log: string[] = [];
  const logger = new LogWriter(node.clock, (text) => log.push(text) > 0, "text", "info");
  const closes: (() => void)[] = [];
  const ports = { serve: () => null, onClose: (close: () => void) => void closes.push(close) };
  const given = config === null ? null : { path, isNamed: true, group: null, ...config };
  const opened = await world.settle(openAdminSocket(node, given, logger, ports, serve(logger)));
  return {
    world,
    machine,
    logger,
    opened,
    get log() {
      logger.flush();
      return log;
    },
    close: () => {
      for (const close of closes) close();
    },
  };
}

/** What a program of that user is answered. */
async function asked({ world, machine }: Opened, uid: number, gid: number): Promise<string> {
  const host = machine.start({ user: { uid, gid } });
  const target = { sockets: ["/run/fairlead/gone.sock", path], address: null };
  return await world.settle(
    askAdmin(host, target, "POST", "/quitquitquit").then(
      ({ status, text }) => `${status} ${text}`,
      (error: { code: string }) => error.code,
    ),
  );
}

describe("the administration socket", () => {
  test("is for root and the user of the node; the file keeps everybody else out", async () => {
    const opened = await open({});
    expect(opened.opened).toBe(path);
    expect(await asked(opened, 0, 0)).toBe("200 POST /quitquitquit by uid=0,gid=0");
    expect(await asked(opened, 900, 900)).toBe("200 POST /quitquitquit by uid=900,gid=900");
    expect(await asked(opened, 1001, 900)).toBe("permission_denied");
    opened.close();
    expect(await asked(opened, 0, 0)).toBe("connect_refused");
  });

  for (const group of ["mesh-ops", "700"])
    test(`is for the group ${group} too, and says to others whom it is for`, async () => {
      const opened = await open({ group });
      expect(await asked(opened, 1001, 700)).toStartWith("200 ");
      expect(await asked(opened, 1001, 900)).toBe(
        `403 only root and the user of the node and members of group ${group} may do this, not uid=1001,gid=900\n`,
      );
      expect(opened.log.join("")).toContain('by="uid=1001,gid=900"');
      expect(await asked(opened, 900, 1)).toStartWith("200 ");
    });

  test("is not opened for a group that does not exist, nor when it is switched off", async () => {
    expect(await rejectionOf(open({ group: "nowhere" }))).toMatchObject({ code: "configuration" });
    expect((await open(null)).opened).toBeNull();
  });

  test("that was named has to be had; one that was not is done without, and that is said", async () => {
    const long = `/run/${"x".repeat(200)}/admin.sock`;
    expect(await rejectionOf(open({ path: long }))).toMatchObject({ blame: "local" });
    const opened = await open({ path: long, isNamed: false });
    expect(opened.opened).toBeNull();
    expect(opened.log.join("")).toContain("there is no administration socket; give one with --admin-socket");
  });

  test("counts a caller's other groups, and refuses a caller whose user the kernel does not tell", () => {
    const caller = { uid: 1001, gid: 1001, groups: [4, 700], pid: 1 };
    expect(mayAdminister(caller, 900, 700)).toBe(true);
    expect(mayAdminister(caller, 900, 701)).toBe(false);
    expect(mayAdminister(caller, 900, null)).toBe(false);
    expect(mayAdminister(null, 900, 700)).toBe(false);
  });
});

describe("records that are followed", () => {
  const target = { sockets: [path], address: null };

  const everything = { from: null, to: null, failed: false };

  /** A node whose log is followed by one client until `take` says no. */
  async function following(take: (text: string) => boolean, uid = 0) {
    const opened = await open({}, (logger) => {
      const taps = new Taps((listener) => logger.watch("access", listener));
      return { fetch: (request) => new Response(taps.open(everything, request.signal)) };
    });
    const host = opened.machine.start({ user: { uid, gid: uid } });
    const followed = followAdmin(host, target, "/tap", take);
    return { ...opened, host, followed, isWatched: () => opened.logger.wants("debug", "access") };
  }

  const soon = (world: MemoryWorld): Promise<void> => world.run(world.nowMs + 50);

  test("come as they are said, until the reader has had enough; then the node is rid of it", async () => {
    const seen: string[] = [];
    const take = (text: string): boolean => {
      seen.push(text);
      return !text.includes("three");
    };
    const { logger, world, followed, isWatched } = await following(take);
    await soon(world);
    expect(isWatched()).toBe(true);
    logger.log("info", "access", "one");
    logger.log("info", "xds", "two");
    await soon(world);
    expect(seen.join("")).toContain('"message":"one"');
    logger.log("debug", "access", "three");
    await world.settle(followed);
    await soon(world);
    expect([isWatched(), seen.join("").includes("two")]).toEqual([false, false]);
  });

  test("a client that is killed while nothing is said is forgotten", async () => {
    const { host, world, isWatched } = await following(() => true);
    await soon(world);
    expect(isWatched()).toBe(true);
    host.kill();
    await soon(world);
    expect(isWatched()).toBe(false);
  });

  test("end with the node; a user who may not look is told so", async () => {
    const ended = await following(() => true);
    await soon(ended.world);
    ended.close();
    expect(await ended.world.settle(rejectionOf(ended.followed))).toMatchObject({
      code: "connection_closed",
    });
    const refused = await following(() => true, 1001);
    expect(await refused.world.settle(rejectionOf(refused.followed))).toMatchObject({
      code: "permission_denied",
    });
  });
});
