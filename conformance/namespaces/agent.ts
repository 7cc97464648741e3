/**
 * An application that knows nothing of any mesh: plain TCP by `node:net`, told what to do by lines of JSON on standard input.
 * It tells what it saw by lines on standard output. `application.ts` is the test's side of it.
 */
import { connect, createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import type { Behaviour, Command, Told } from "./agent_protocol.ts";
import { ByteSource } from "./byte_source.ts";

const sockets = new Map<string, Socket>();
const held = { open: 0, failed: 0, closed: 0, reset: 0 };

function tell(line: Told): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function follow(id: string, socket: Socket): void {
  sockets.set(id, socket);
  let reset = false;
  socket.on("error", (error: NodeJS.ErrnoException) => {
    reset = error.code === "ECONNRESET" || error.code === "EPIPE";
  });
  socket.on("end", () => tell({ on: id, event: "end" }));
  socket.on("close", () => {
    sockets.delete(id);
    tell({ on: id, event: "close", reset });
  });
}

function serve(id: string, socket: Socket, behaviour: Behaviour): void {
  if (behaviour.kind === "greet_quietly") {
    greet(socket);
    socket.on("error", () => {});
    return;
  }
  const seen = `${socket.remoteAddress} ${socket.remotePort}`;
  follow(id, socket);
  tell({ on: id, event: "accepted", seen });
  switch (behaviour.kind) {
    case "echo":
      socket.on("data", (bytes) => void socket.write(bytes)).on("end", () => socket.end());
      break;
    case "greet":
      greet(socket);
      break;
    case "answer_at_end":
      exchange(id, socket, 0, (bytes, digest) => socket.end(`${bytes} ${digest}\n`));
      break;
    case "exchange":
      exchange(id, socket, behaviour.bytes, () => {});
      break;
    case "reset_on_data":
      socket.on("data", () => socket.resetAndDestroy());
      break;
    case "http":
      socket.once("data", () => {
        const body = `you are ${socket.remoteAddress}\n`;
        socket.end(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`);
      });
      break;
    case "stalled":
      socket.pause();
      break;
    case "told":
      socket.on("data", (bytes) => tell({ on: id, event: "data", text: bytes.toString("latin1") }));
      break;
  }
}

function greet(socket: Socket): void {
  socket.write(`you are ${socket.remoteAddress}\n`);
  socket.on("data", (bytes) => void socket.write(bytes)).on("end", () => socket.end());
}

/** Sends so many bytes and ends; hashes what comes meanwhile, and tells both. */
function exchange(
  id: string,
  socket: Socket,
  bytes: number,
  onEnd: (received: number, digest: string) => void,
): void {
  const hasher = new Bun.CryptoHasher("sha256");
  let received = 0;
  socket.on("data", (chunk) => {
    hasher.update(chunk);
    received += chunk.length;
  });
  socket.on("end", () => {
    const digest = hasher.digest("hex");
    tell({ on: id, event: "received", bytes: received, digest });
    onEnd(received, digest);
  });
  if (bytes === 0) return;
  const source = new ByteSource(bytes);
  const pump = (): void => {
    for (let chunk = source.next(); chunk !== null; chunk = source.next()) if (!socket.write(chunk)) return;
    socket.off("drain", pump);
    socket.end();
    tell({ on: id, event: "sent", bytes, digest: source.digest() });
  };
  socket.on("drain", pump);
  pump();
}

function listen(command: Command & { readonly do: "listen" }): void {
  let accepted = 0;
  const server = createServer({ allowHalfOpen: true }, (socket) =>
    serve(`${command.id}/${accepted++}`, socket, command.behaviour),
  );
  server.on("error", (error) => tell({ on: command.id, event: "failed", reason: error.message }));
  server.listen({ host: command.ip, port: command.port, backlog: 4096 }, () =>
    tell({ on: command.id, event: "open" }),
  );
}

function open({ id, to, port, from, bytes, readToEnd }: Command & { readonly do: "connect" }): void {
  const source = from === null ? {} : { localAddress: from };
  const socket = connect({ host: to, port, allowHalfOpen: true, ...source });
  let opened = false;
  socket.on("connect", () => {
    opened = true;
    tell({ on: id, event: "open" });
    if (bytes > 0) exchange(id, socket, bytes, () => {});
  });
  socket.on("error", (error: NodeJS.ErrnoException) => {
    if (!opened) tell({ on: id, event: "failed", reason: error.code ?? error.message });
  });
  follow(id, socket);
  if (readToEnd) exchange(id, socket, 0, () => {});
  else if (bytes === 0)
    socket.on("data", (chunk) => tell({ on: id, event: "data", text: chunk.toString("latin1") }));
}

/** Thousands of connections, each open once its server's greeting has come; what becomes of them is only counted. */
async function hold(command: Command & { readonly do: "hold" }): Promise<void> {
  const one = (): Promise<void> =>
    new Promise((resolve) => {
      const socket = connect({
        host: command.to,
        port: command.port,
        localAddress: command.from ?? undefined,
      });
      let greeted = false;
      let failure: string | null = null;
      socket.once("data", () => {
        greeted = true;
        held.open++;
        resolve();
      });
      socket.on("error", (error: NodeJS.ErrnoException) => {
        failure = error.code ?? error.message;
      });
      socket.on("close", () => {
        if (greeted) held.closed++;
        else held.failed++;
        if (greeted && failure === "ECONNRESET") held.reset++;
        resolve();
      });
    });
  let left = command.count;
  const lane = async (): Promise<void> => {
    while (left-- > 0) await one();
  };
  await Promise.all(Array.from({ length: command.lanes }, lane));
  tell({ on: command.id, event: "held", ...held });
}

function carryOut(command: Command): void {
  switch (command.do) {
    case "listen":
      listen(command);
      break;
    case "connect":
      open(command);
      break;
    case "hold":
      void hold(command);
      break;
    case "count":
      tell({ on: command.id, event: "held", ...held });
      break;
    case "send":
      sockets.get(command.id)?.write(command.text);
      break;
    case "end":
      sockets.get(command.id)?.end();
      break;
    case "reset":
      sockets.get(command.id)?.resetAndDestroy();
      break;
  }
}

createInterface({ input: process.stdin })
  .on("line", (line) => carryOut(JSON.parse(line) as Command))
  .on("close", () => process.exit(0));
