/** How a stranger calls the backend: by plain TCP, or with a certificate of their own making. */
import { connect as connectTcp } from "node:net";
import { connect as connectTls } from "node:tls";
import { hangMs } from "../peer/lab/eventually.ts";

/** What came back: an HTTP status, or how the connection ended without one. */
export interface Answer {
  readonly status: number | null;
  readonly body: string;
  readonly ending: string;
}

/** A hang alone reaches it. */
const limitMs = hangMs;

/** Where the end user's token is; the application has its own credential in `authorization`. */
function userToken(token: string): string {
  return token === "" ? "" : `x-user-token: ${token}\r\n`;
}

/** One HTTP request over a connection of its own. */
export function call(host: string, port: number, authorization: string, token = ""): Promise<Answer> {
  const socket = connectTcp({ host, port });
  socket.write(
    `GET / HTTP/1.1\r\nhost: backend\r\nauthorization: ${authorization}\r\n${userToken(token)}connection: close\r\n\r\n`,
  );
  return collect(socket);
}

/** HBONE's port with a certificate that the mesh did not sign: TLS first, then the HTTP/2 preface and an empty SETTINGS. */
export function callWithCertificate(
  host: string,
  port: number,
  certificate: { readonly cert: string; readonly key: string },
): Promise<Answer> {
  // Whoever the server is does not matter to an intruder.
  const socket = connectTls({
    host,
    port,
    ...certificate,
    rejectUnauthorized: false,
    ALPNProtocols: ["h2"],
    minVersion: "TLSv1.3",
  });
  socket.write(
    Buffer.concat([
      Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
      Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
    ]),
  );
  return collect(socket);
}

function collect(socket: ReturnType<typeof connectTcp>): Promise<Answer> {
  return new Promise((resolve) => {
    let text = "";
    const finish = (ending: string): void => {
      socket.destroy();
      const status = /^HTTP\/1\.1 (\d{3})/.exec(text)?.[1];
      resolve({ status: status === undefined ? null : Number(status), body: text, ending });
    };
    socket.setTimeout(limitMs, () => finish("no answer"));
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
    });
    socket.on("end", () => finish("closed"));
    socket.on("close", () => finish("closed"));
    socket.on("error", (error: NodeJS.ErrnoException) => finish(error.code ?? error.message));
  });
}

/** A request whose answer goes on and on. */
export class OpenStream {
  ticks = 0;
  /** When it ended, by `performance.now()`. */
  endedAtMs: number | null = null;
  readonly #socket: ReturnType<typeof connectTcp>;

  constructor(host: string, port: number, authorization: string, token = "") {
    const socket = connectTcp({ host, port });
    this.#socket = socket;
    socket.write(
      `GET /ticks HTTP/1.1\r\nhost: backend\r\nauthorization: ${authorization}\r\n${userToken(token)}\r\n`,
    );
    socket.on("data", (chunk) => {
      this.ticks += chunk.toString("latin1").split("tick").length - 1;
    });
    const end = (): void => {
      this.endedAtMs ??= performance.now();
      socket.destroy();
    };
    socket.on("end", end);
    socket.on("close", end);
    socket.on("error", end);
  }

  close(): void {
    this.#socket.destroy();
  }
}
