/** A node of ours in an istiod's mesh. */
import { join } from "node:path";
import { comesTrue } from "../peer/lab/eventually.ts";
import { Subprocess } from "../peer/lab/subprocess.ts";
import { fairleadArgv } from "./control_process.ts";
import { freePort } from "./free_port.ts";

export interface IstiodNodeOptions {
  /** Of its log and its state. */
  readonly name: string;
  readonly directory: string;
  /** Where istiod is reached, on 127.0.0.1, and what it is called. */
  readonly port: number;
  readonly controlName: string;
  readonly rootPath: string;
  readonly tokenPath: string;
  /** `namespace/name` */
  readonly workload: string;
  /** The same for all that are to reach each other. */
  readonly hbonePort: number;
  readonly flags?: readonly string[];
}

export class IstiodNode {
  readonly process: Subprocess;
  readonly #readiness = `127.0.0.1:${freePort()}`;
  readonly #admin = `127.0.0.1:${freePort()}`;

  constructor(options: IstiodNodeOptions) {
    const { name, directory, port, controlName, rootPath, tokenPath, workload, hbonePort, flags } = options;
    this.process = Subprocess.start({
      name,
      argv: [
        ...[...fairleadArgv(), "node", "--control", `https://127.0.0.1:${port}`],
        ...["--control-name", controlName, "--control-root", rootPath, "--token-file", tokenPath],
        ...["--state-directory", join(directory, name), "--workload", workload],
        ...["--hbone-port", String(hbonePort), "--admin", this.#admin, "--admin-socket", "off"],
        ...["--metrics", "off", "--readiness", this.#readiness, ...(flags ?? [])],
      ],
      logPath: join(directory, `${name}.log`),
    });
  }

  async isReady(): Promise<boolean> {
    return (await fetch(`http://${this.#readiness}/healthz/ready`).catch(() => null))?.ok === true;
  }

  /** What its administration shows. */
  async get(path: string): Promise<string> {
    try {
      return await (await fetch(`http://${this.#admin}${path}`)).text();
    } catch {
      return "";
    }
  }

  async stop(): Promise<void> {
    await this.process.stop();
  }
}

export async function areReady(nodes: readonly IstiodNode[]): Promise<boolean> {
  return await comesTrue(async () => {
    const ready = await Promise.all(nodes.map((node) => node.isReady()));
    return ready.every((each) => each);
  });
}
