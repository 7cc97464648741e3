/** Identities for local programs as whole nodes hand them out: a mesh of one host, and hosts that have joined. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { rejectionOf } from "../../src/base/testing/rejection.ts";
import type { SettingName } from "../../src/config/settings.ts";
import type { MemoryMachine } from "../../src/host/memory/world.ts";
import { Drive } from "../../src/transport/drive.ts";
import { GrpcClient } from "../../src/wire/grpc/client.ts";
import { spiffeWorkload } from "../../src/wire/grpc/services.ts";
import { type GrpcError, grpcCode } from "../../src/wire/grpc/status.ts";
import { H2Connection } from "../../src/wire/h2/connection.ts";
import { newMessage } from "../../src/wire/messages/message.ts";
import { X509SVIDRequestSchema, type X509SVIDResponse } from "../../src/wire/messages/spiffe_workload.gen.ts";
import { ControlLab } from "./control_lab.ts";
import { FlowLab, workloadEntry } from "./lab.ts";

// Of a machine that is busy; what is waited for is simulated time.
setDefaultTimeout(60_000);

const path = "/run/identity.sock";
const cartUri = "spiffe://cluster.local/ns/shop/sa/cart";

const socketFor = (rule: string): Partial<Record<SettingName, string>> => ({
  identitySocket: path,
  identityFor: rule,
});

interface Watching {
  readonly answers: X509SVIDResponse[];
  end: GrpcError | null | undefined;
}

/** A program of that user that watches its SVIDs. */
async function watch(flows: FlowLab, machine: MemoryMachine, uid: number): Promise<Watching> {
  const host = machine.start({ user: { uid, gid: uid } });
  const socket = await flows.world.settle(host.net.connectUnix(path, 1_000));
  let drive: Drive | null = null;
  const connection = new H2Connection(
    { role: "client", now: host.clock.now() },
    { onRequest() {}, onOutputReady: () => drive?.outputReady(), onClose() {} },
  );
  drive = new Drive(host.clock, socket, connection, () => {});
  drive.start();
  await flows.run(10);
  const { clock } = host;
  const client = new GrpcClient(connection, {
    authority: "localhost",
    scheme: "http",
    clock,
    userAgent: "test",
  });
  const watching: Watching = { answers: [], end: undefined };
  const stream = client.stream(
    spiffeWorkload.fetchX509Svid,
    {
      onMessage: (answer) => void watching.answers.push(answer),
      onEnd: (error) => {
        watching.end = error;
      },
    },
    { metadata: ["workload.spiffe.io", "true"] },
  );
  stream.send(newMessage(X509SVIDRequestSchema));
  return watching;
}

function idsOf({ answers }: Watching): string[][] {
  return answers.map(({ svids }) => svids.map(({ spiffeId }) => spiffeId));
}

async function single(rule: string) {
  const flows = await FlowLab.create();
  const machine = flows.world.machine("a", { addresses: ["10.0.0.1", "10.0.0.9"] });
  machine.disk.makeFolder("/run");
  flows.prepare(machine, workloadEntry("cart", "10.0.0.1"));
  return { flows, machine, start: () => flows.start(machine, socketFor(rule)) };
}

describe("a mesh of one host", () => {
  test("a user gets what the rules say, others nothing; the socket goes with the node", async () => {
    const { flows, machine, start } = await single("uid=1001=shop/web");
    const { node } = await start();
    const [own, other] = [await watch(flows, machine, 1001), await watch(flows, machine, 1002)];
    await flows.until(() => own.answers.length > 0 && other.end !== undefined, "answers");
    expect(idsOf(own)).toEqual([["spiffe://cluster.local/ns/shop/sa/web"]]);
    expect([other.end?.code, other.answers.length]).toEqual([grpcCode.permissionDenied, 0]);
    expect(node.identitySocket?.status().openStreams).toBe(1);
    await flows.world.settle(node.drain());
    await flows.run(100);
    expect(own.end).toBeInstanceOf(Error);
    const late = flows.world.settle(machine.start().net.connectUnix(path, 100));
    expect(await rejectionOf(late)).toMatchObject({ code: "connect_unreachable" });
  });

  test("an identity that a program holds is not forgotten with the workload that had it; another is", async () => {
    const { flows, machine, start } = await single("uid=1001=shop/cart");
    const { node, documents } = await start();
    const { secrets } = node.context;
    await documents("more.yaml", workloadEntry("db", "10.0.0.9"));
    await flows.until(() => secrets.entries().length === 2, "two identities");
    const program = await watch(flows, machine, 1001);
    await flows.until(() => program.answers.length === 1, "the SVID");
    await documents("base.yaml", "# nothing\n");
    await documents("more.yaml", "# nothing\n");
    await flows.until(() => node.context.locals.all.length === 0, "no workload");
    await flows.run(1_000);
    expect(secrets.entries().map(({ id, state }) => [id.uri, state])).toEqual([[cartUri, "available"]]);
    await flows.run(13 * 3_600_000);
    expect(idsOf(program)).toEqual([[cartUri], [cartUri]]);
  });

  test("a rule of another trust domain ends the start, and leaves nothing behind", async () => {
    const { machine, start } = await single("uid=1=spiffe://other.example/ns/shop/sa/cart");
    expect(await rejectionOf(start())).toMatchObject({ code: "configuration", blame: "local" });
    expect(await rejectionOf(machine.start().net.connectUnix(path, 100))).toMatchObject({
      code: "connect_unreachable",
    });
  });
});

describe("a host that has joined", () => {
  test("hands out what the control plane signs for it, and says of the rest that it does not", async () => {
    const entry = workloadEntry("cart", "10.0.0.1").replace(
      "annotations: {",
      "annotations: {fairlead.dev/node: one, ",
    );
    const lab = await ControlLab.create(entry + workloadEntry("db", "10.0.0.2"));
    const { flows } = lab;
    const machine = flows.world.machine("one", { addresses: ["10.0.0.1"] });
    machine.disk.makeFolder("/run");
    const rule = socketFor("uid=1001=shop/cart");
    const joined = await lab.host(machine, { ...(await lab.token("one")), ...rule });
    await flows.world.settle(joined.node.listening);
    const program = await watch(flows, machine, 1001);
    await flows.until(() => program.answers.length > 0, "the SVID");
    expect(idsOf(program)[0]).toEqual([cartUri]);
    await flows.world.settle(joined.node.stop());

    const again = await lab.host(machine, socketFor("uid=1001=shop/db"));
    await flows.world.settle(again.node.listening);
    const refused = await watch(flows, machine, 1001);
    await flows.until(() => refused.end !== undefined, "the refusal");
    expect([refused.answers.length, refused.end?.code]).toEqual([0, grpcCode.unavailable]);
    expect(refused.end?.message).toBe(
      "the identity is not available now: the control plane does not sign it for this host",
    );
    expect(again.log()).toContain("a document places the workload on this node");
  });
});
