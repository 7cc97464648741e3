/** Asks a control plane's administration, and tells what it refuses as an operator can use it. */
import type { Command } from "commander";
import { MeshError } from "../../base/errors.ts";
import { controlHttpLimits } from "../../base/limits/control.ts";
import {
  administratorFile,
  type ControlClientConfig,
  type ControlClientFlags,
  controlVariables,
  loadControlClient,
} from "../../config/control/client.ts";
import { defaultStateDirectory } from "../../config/state_directory.ts";
import type { Location } from "../../mesh/location.ts";
import { type Json, list, member, number, text } from "../admin_json.ts";
import type { CliBindings, ExitCode } from "../bindings.ts";
import { formatFinding } from "../located.ts";
import { reportConfigErrors } from "../report.ts";
import type { Style } from "../style.ts";
import type { ControlAnswer, ControlConnection } from "./bindings.ts";

export function addClientOptions(command: Command): Command {
  return command
    .optionsGroup("Control plane:")
    .option(
      "--control <https://HOST:PORT>",
      "the control plane to ask (default this host's; env FAIRLEAD_CONTROL)",
    )
    .option(
      "--identity <PATH>",
      "your key, certificate chain and roots in a PEM file (default admin.pem of the state directory; env FAIRLEAD_IDENTITY)",
    )
    .option(
      "--token-file <PATH>",
      "a file with your token of a trusted issuer, in place of --identity (env FAIRLEAD_TOKEN_FILE)",
    )
    .option(
      "--control-root <PATH>",
      "the root certificates that verify the control plane, if not those of --identity (env FAIRLEAD_CONTROL_ROOT)",
    )
    .option(
      "--control-name <NAME>",
      "the name in the control plane's certificate, if that is not HOST (env FAIRLEAD_CONTROL_NAME)",
    )
    .optionsGroup("Options:");
}

/** Whether there is one to ask: it, or who asks it, was named; or it runs here and has left its first administrator's identity. */
export async function hasControlPlane(
  bindings: CliBindings,
  { control, controlName, controlRoot, identity, tokenFile }: ControlClientFlags,
): Promise<boolean> {
  const flags = [control, controlName, controlRoot, identity, tokenFile];
  const named = [...flags, ...controlVariables.map((name) => bindings.environment[name])];
  if (named.some((value) => value !== undefined && value !== "")) return true;
  return bindings.control.exists(`${defaultStateDirectory(bindings.environment)}/${administratorFile}`);
}

/** A refusal of the control plane: RFC 9457, with the places of errors in documents. */
export class ControlRefusal extends Error {
  readonly status: number;
  readonly body: Json;

  constructor(status: number, body: Json) {
    super(text(body, "detail") === "-" ? `it answered ${status}` : text(body, "detail"));
    this.status = status;
    this.body = body;
  }
}

export type Call = (client: ControlClient) => Promise<ExitCode>;

/** Connects, runs, and closes; refusals become words and exit code 1. @param texts files whose lines errors may show. */
export async function withControl(
  bindings: CliBindings,
  style: Style,
  flags: ControlClientFlags,
  call: Call,
  texts: readonly { readonly path: string; readonly text: string }[] = [],
): Promise<ExitCode> {
  const { config, errors } = loadControlClient(flags, bindings.environment);
  if (config === null) return reportConfigErrors(bindings.terminal, errors);
  const connection = await bindings.control.connect(config);
  try {
    return await call(new ControlClient(connection, config));
  } catch (thrown) {
    if (!(thrown instanceof ControlRefusal)) throw thrown;
    reportRefusal(bindings, style, thrown, texts);
    return 1;
  } finally {
    connection.close();
  }
}

function reportRefusal(
  { terminal }: CliBindings,
  style: Style,
  refusal: ControlRefusal,
  texts: readonly { readonly path: string; readonly text: string }[],
): void {
  for (const error of list(refusal.body, "errors")) {
    const location: Location = {
      file: text(error, "location", "file"),
      line: number(error, "location", "line"),
      column: number(error, "location", "column"),
    };
    const source = texts.find(({ path }) => path === location.file)?.text;
    const word = member(error, "word");
    const resource = member(error, "resource");
    const finding = {
      severity: "error" as const,
      location,
      resource: typeof resource === "string" ? text(error, "resource") : null,
      message: text(error, "message"),
      ...(typeof word === "string" ? { word } : {}),
    };
    terminal.error(
      formatFinding(finding, source?.split("\n", location.line)[location.line - 1] ?? null, style),
    );
  }
  for (const reason of list(refusal.body, "lockOuts")) terminal.error(`  ${text(reason)}\n`);
  if (member(refusal.body, "canForce") === true) terminal.error("  --force makes the change nevertheless\n");
  for (const node of list(refusal.body, "waitingFor")) terminal.error(`  waiting for ${text(node)}\n`);
  terminal.error(`${style.red("fairlead:")} ${printableLine(refusal.message)}\n`);
}

function printableLine(message: string): string {
  return text({ message }, "message");
}

export class ControlClient {
  readonly config: ControlClientConfig;
  readonly #connection: ControlConnection;

  constructor(connection: ControlConnection, config: ControlClientConfig) {
    this.#connection = connection;
    this.config = config;
  }

  /** @throws ControlRefusal; MeshError `io` for what is no answer of ours. */
  async get(path: string, query: Readonly<Record<string, string | undefined>> = {}): Promise<Json> {
    return this.#json(await this.#ask("GET", withQuery(path, query), null));
  }

  async getText(path: string, query: Readonly<Record<string, string | undefined>> = {}): Promise<string> {
    return new TextDecoder().decode(await this.#ask("GET", withQuery(path, query), null));
  }

  /** Into a file. @returns its bytes. */
  async download(path: string, target: string): Promise<number> {
    const request = { method: "GET", path, body: null, maxBytes: controlHttpLimits.maxAnswerBytes } as const;
    const { written, ...answer } = await this.#connection.download(request, target);
    this.#checked(answer);
    return written;
  }

  async post(path: string, body: Json = {}): Promise<Json> {
    return this.#json(await this.#ask("POST", path, JSON.stringify(body)));
  }

  async delete(path: string): Promise<Json> {
    const answer = await this.#ask("DELETE", path, null);
    return answer.length === 0 ? null : this.#json(answer);
  }

  #json(bytes: Uint8Array): Json {
    return parse(bytes) ?? this.#strange(200);
  }

  async #ask(method: "GET" | "POST" | "DELETE", path: string, body: string | null): Promise<Uint8Array> {
    const maxBytes = controlHttpLimits.maxAnswerBytes;
    return this.#checked(await this.#connection.request({ method, path, body, maxBytes }));
  }

  #checked(answer: ControlAnswer): Uint8Array {
    if (answer.status >= 200 && answer.status < 300) return answer.body;
    const problem = parse(answer.body);
    if (problem === null) return this.#strange(answer.status);
    throw new ControlRefusal(answer.status, problem);
  }

  #strange(status: number): never {
    const { host, port } = this.config.server;
    throw new MeshError(
      "io",
      "upstream",
      `${host}:${port} answered ${status}, but not as a control plane does: is the address right?`,
    );
  }
}

function parse(bytes: Uint8Array): Json | null {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
}

function withQuery(path: string, query: Readonly<Record<string, string | undefined>>): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) parameters.set(name, value);
  const written = parameters.toString();
  return written === "" ? path : `${path}?${written}`;
}
