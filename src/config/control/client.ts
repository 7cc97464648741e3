/** Which control plane a command speaks to, and as whom. */
import type { HostPort } from "../../base/ip.ts";
import { ports } from "../../base/limits/ports.ts";
import { readControlAddress, readHostName } from "../control_value.ts";
import type { ConfigError, ConfigSources } from "../sources.ts";
import { defaultStateDirectory } from "../state_directory.ts";
import { Invalid } from "../value.ts";

export interface ControlClientConfig {
  readonly server: HostPort;
  /** The name in its certificate, when that is not the server's host. */
  readonly name: string | null;
  /** A PEM file with our key, our certificate with its chain, and the roots by which the control plane is known; null: none. */
  readonly identityPath: string | null;
  /** A file with the roots alone, for those who show a token; it wins over those of the identity. */
  readonly rootPath: string | null;
  /** A file with a bearer token. */
  readonly tokenPath: string | null;
}

export interface ControlClientFlags {
  readonly control?: string;
  readonly controlName?: string;
  readonly controlRoot?: string;
  readonly identity?: string;
  readonly tokenFile?: string;
}

export type LoadedControlClient =
  | { readonly config: ControlClientConfig; readonly errors: readonly [] }
  | { readonly config: null; readonly errors: readonly ConfigError[] };

/** What a control plane leaves in its state directory for its first administrator. */
export const administratorFile = "admin.pem";

/** The environment's variables that say it in place of a flag each. */
export const controlVariables = [
  "FAIRLEAD_CONTROL",
  "FAIRLEAD_CONTROL_NAME",
  "FAIRLEAD_CONTROL_ROOT",
  "FAIRLEAD_IDENTITY",
  "FAIRLEAD_TOKEN_FILE",
] as const;

/** Whether it was said that there is a control plane to ask. */
export function namesControlPlane(
  flags: Pick<ControlClientFlags, "control">,
  environment: ConfigSources["environment"],
): boolean {
  return flags.control !== undefined || (environment.FAIRLEAD_CONTROL ?? "") !== "";
}

/** Flags win over the environment. Without either it is the control plane of this host, as its first administrator. */
export function loadControlClient(
  flags: ControlClientFlags,
  environment: ConfigSources["environment"],
): LoadedControlClient {
  const errors: ConfigError[] = [];
  const given = (
    flag: string | undefined,
    name: string,
    variable: string,
  ): { where: string; text: string } | null => {
    if (flag !== undefined) return { where: name, text: flag };
    const value = environment[variable];
    return value === undefined || value === "" ? null : { where: variable, text: value };
  };
  const read = <T>(
    from: { where: string; text: string } | null,
    reader: (text: string) => T | Invalid,
  ): T | null => {
    if (from === null) return null;
    const value = reader(from.text);
    if (!(value instanceof Invalid)) return value;
    errors.push({ where: from.where, message: `"${from.text}" is ${value.reason}` });
    return null;
  };
  const server = read(given(flags.control, "--control", "FAIRLEAD_CONTROL"), readControlAddress);
  const name = read(given(flags.controlName, "--control-name", "FAIRLEAD_CONTROL_NAME"), readHostName);
  const rootPath = given(flags.controlRoot, "--control-root", "FAIRLEAD_CONTROL_ROOT")?.text ?? null;
  const tokenPath = given(flags.tokenFile, "--token-file", "FAIRLEAD_TOKEN_FILE")?.text ?? null;
  const identity = given(flags.identity, "--identity", "FAIRLEAD_IDENTITY")?.text ?? null;
  if (tokenPath !== null && rootPath === null && identity === null)
    errors.push({
      where: "--token-file",
      message: "needs --control-root: a token is sent only to a control plane that can be verified",
    });
  if (errors.length > 0) return { config: null, errors };
  const identityPath =
    identity ?? (tokenPath === null ? `${defaultStateDirectory(environment)}/${administratorFile}` : null);
  const config = {
    server: server ?? { host: "127.0.0.1", port: ports.control },
    name,
    identityPath,
    rootPath,
    tokenPath,
  };
  return { config, errors: [] };
}
