/** Those who do not have the identity they would need: callers from outside, and servers in place of a node that is down. */
import { MeshError } from "../../src/base/errors.ts";
import type { Host, Socket } from "../../src/host/host.ts";
import { Drive } from "../../src/transport/drive.ts";
import { H2Connection } from "../../src/wire/h2/connection.ts";
import type { H2Stream, H2StreamEvents } from "../../src/wire/h2/stream.ts";
import { answerHeaders, connectHeaders } from "../../src/wire/hbone.ts";
import { address } from "./address.ts";
import { encodeHeader } from "./application.ts";
import type { SimulatedMachine } from "./node.ts";
import type { Observed } from "./observed.ts";
import type { Simulation } from "./simulation.ts";
import { outsiderAddress, serverPort } from "./workloads.ts";

const hbonePort = 15008;
/** No connection has this number. */
const unknownConnection = 0xffff_ffff;

/** Garbage, silence, or a whole HBONE CONNECT under a certificate that is not of this mesh. */
export async function callAsRogue(
  { world, outsider, plan, pki }: Simulation,
  rogues: Observed["rogues"][number][],
  name: string,
  how: "garbage" | "foreign" | "silent",
): Promise<void> {
  const workload = plan.workloads.find((one) => one.name === name);
  if (workload === undefined) return;
  const rogue: Observed["rogues"][number] = { how, workload: name, fromMs: world.nowMs, closedMs: null };
  const onGone = () => {
    rogue.closedMs = world.nowMs;
  };
  try {
    const socket = await outsider.net.connect({
      to: address(workload.address, hbonePort),
      timeoutMs: 5_000,
    });
    rogues.push(rogue);
    if (how === "foreign") {
      const options = { credentials: pki.foreign, alpn: ["h2"], timeoutMs: 5_000 };
      connectAs(outsider, await outsider.net.tlsClient(socket, options), workload.address, onGone);
      return;
    }
    socket.setHandler({ onData() {}, onDrain() {}, onEnd: () => socket.close(), onClose: onGone });
    if (how === "garbage") socket.write(encodeHeader(unknownConnection));
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    onGone();
  }
}

function connectAs(host: Host, socket: Socket, target: string, onGone: () => void): void {
  const now = host.clock.now();
  const connection: H2Connection = new H2Connection(
    { role: "client", now },
    { onRequest() {}, onOutputReady: () => drive.outputReady(), onClose: onGone },
  );
  const drive = new Drive(host.clock, socket, connection, onGone);
  drive.start();
  const authority = `${target}:${serverPort}`;
  const headers = connectHeaders({
    authority,
    baggage: null,
    forwarded: null,
    traceparent: null,
    forwardedNetwork: null,
  });
  connection.request(headers, false, deaf)?.sendData(encodeHeader(unknownConnection), false);
}

const deaf: H2StreamEvents = {
  onHeaders() {},
  onData() {},
  onTrailers() {},
  onReset() {},
  onWritable() {},
  onClose() {},
};

/** Answers every CONNECT on the machine's HBONE ports with 200, under a certificate of its own. @returns a function that ends it. */
export function impersonate(
  { world, pki }: Simulation,
  { machine, plan }: SimulatedMachine,
  onPayload: (bytes: number) => void,
): () => void {
  const host = machine.start();
  const serve = async (socket: Socket): Promise<void> => {
    // A rogue tells an impostor what it likes: that was no node's to keep.
    const isRogue = socket.remote.ip.text === outsiderAddress;
    try {
      const options = { credentials: pki.impostor, alpn: ["h2"], timeoutMs: 5_000 };
      answerAll(host, await host.net.tlsServer(socket, options), isRogue ? () => {} : onPayload);
    } catch (error) {
      if (!(error instanceof MeshError)) world.schedule.fail(error);
    }
  };
  for (const workload of plan.workloads) {
    try {
      host.net.listen({ address: address(workload.address, hbonePort) }, (socket) => void serve(socket));
    } catch (error) {
      // The node was started meanwhile, or another impostor was quicker.
      if (!(error instanceof MeshError)) throw error;
    }
  }
  return () => host.kill();
}

function answerAll(host: Host, socket: Socket, onPayload: (bytes: number) => void): void {
  const onRequest = (stream: H2Stream) => {
    stream.events = { ...deaf, onData: (bytes) => onPayload(bytes.length) };
    stream.sendHeaders(answerHeaders(200, null), false);
  };
  const connection: H2Connection = new H2Connection(
    { role: "server", now: host.clock.now() },
    { onRequest, onOutputReady: () => drive.outputReady(), onClose() {} },
  );
  const drive = new Drive(host.clock, socket, connection, () => {});
  drive.start();
}
