/**
 * An application that knows nothing of a mesh, inside a namespace: `actor.ts serve IP PORT`, `call IP PORT` or `hold IP PORT`.
 * The server greets with the address it sees its caller under, then sends back what it is sent.
 */
import { connect, createServer } from "node:net";

const [role = "", ip = "", portText = ""] = process.argv.slice(2);
const port = Number(portText);

function serve(): void {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.write(`you are ${socket.remoteAddress?.replace("::ffff:", "")}\n`);
    socket.pipe(socket);
    socket.on("error", () => socket.destroy());
  });
  server.listen(port, ip, () => console.log("listening"));
}

/** Says `hello`, ends, and prints what came back; or how it ended when nothing did. */
function call(): void {
  const socket = connect({ host: ip, port, allowHalfOpen: true });
  let text = "";
  socket.setTimeout(5000, () => finish("timed out"));
  socket.on("connect", () => socket.end("hello\n"));
  socket.on("data", (bytes) => {
    text += bytes.toString();
  });
  socket.on("end", () => finish("closed"));
  socket.on("error", (error: NodeJS.ErrnoException) => finish(error.code ?? error.message));
  const finish = (ending: string): void => {
    console.log(JSON.stringify({ text, ending }));
    process.exit(0);
  };
}

/** Stays connected and prints `open`, then `ended` when the other side ends it. */
function hold(): void {
  const socket = connect({ host: ip, port });
  socket.once("data", () => console.log("open"));
  const end = (): void => {
    console.log("ended");
    process.exit(0);
  };
  socket.on("end", end);
  socket.on("error", end);
}

const roles: Readonly<Record<string, () => void>> = { serve, call, hold };
roles[role]?.();
