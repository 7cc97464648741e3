/** What systemd would hear of a service: a datagram socket that tells each message and the process that sent it, as the kernel knows it. */
import { join } from "node:path";
import { eventually } from "../peer/lab/eventually.ts";
import { Subprocess } from "../peer/lab/subprocess.ts";

/** SO_PASSCRED, and the sender in SCM_CREDENTIALS (unix(7)), as systemd does. */
const script = `
import socket, struct, sys, json
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
print("listens", flush=True)
while True:
    data, ancillary, _, _ = s.recvmsg(4096, 256)
    pid = next((struct.unpack("iii", d[:12])[0] for l, t, d in ancillary if t == socket.SCM_CREDENTIALS), 0) if hasattr(socket, "SCM_CREDENTIALS") else next((struct.unpack("iii", d[:12])[0] for l, t, d in ancillary if t == 2), 0)
    print(json.dumps({"pid": pid, "text": data.decode()}), flush=True)
`;

export interface Notice {
  readonly pid: number;
  readonly text: string;
}

export class NotifySocket {
  readonly path: string;
  readonly #process: Subprocess;

  private constructor(path: string, process: Subprocess) {
    this.path = path;
    this.#process = process;
  }

  /** @returns null without Python. */
  static async open(directory: string): Promise<NotifySocket | null> {
    if (Bun.which("python3") === null) return null;
    const path = join(directory, "notify.sock");
    const logPath = join(directory, "notify.log");
    const child = Subprocess.start({ name: "notify socket", argv: ["python3", "-c", script, path], logPath });
    await eventually(
      "the notify socket",
      () => child.lines().includes("listens"),
      () => child.log(),
    );
    return new NotifySocket(path, child);
  }

  get notices(): readonly Notice[] {
    return this.#process
      .lines()
      .flatMap((line) => (line.startsWith("{") ? [JSON.parse(line) as Notice] : []));
  }

  stop(): Promise<void> {
    return this.#process.stop();
  }
}
