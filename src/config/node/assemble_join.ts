/** What only holds together of the settings that name a control plane, and ztunnel's environment names that are no settings of ours. */
import type { ControlSettings, NodeDescription } from "../../base/settings/node_control.ts";
import { type SettingValues, settings } from "../settings.ts";
import type { ConfigError, ConfigSources } from "../sources.ts";

type Environment = ConfigSources["environment"];

/** @returns null without a control plane, or after an error was added. */
export function assembleControl(
  values: SettingValues,
  environment: Environment,
  stateDirectory: string,
  errors: ConfigError[],
): ControlSettings | null {
  const fail = (where: string, message: string): void => void errors.push({ where, message });
  const { control, joinToken, tokenFile, caPin, controlRoot, caAddress } = values;
  if (control === null) {
    checkOrphans(values, fail);
    return null;
  }
  if (values.mesh.length > 0)
    fail(
      settings.mesh.flag,
      "cannot be given with --control: the mesh comes from documents or from a control plane, not from both",
    );
  if (joinToken !== null && tokenFile !== null)
    fail(
      settings.joinToken.flag,
      "cannot be given with --token-file: a join token is for Fairlead's control plane, a bearer token for an istiod",
    );
  if (tokenFile !== null && controlRoot === null)
    fail(
      settings.tokenFile.flag,
      "needs --control-root: a token is sent only to a control plane that can be verified",
    );
  if (joinToken !== null && controlRoot === null && caPin === null)
    fail(settings.joinToken.flag, "needs --ca-pin (it is in the join line) or --control-root");
  if (joinToken !== null && caAddress !== null)
    fail(
      settings.caAddress.flag,
      "cannot be given with --join-token: the control plane that this host joins also signs its certificates",
    );
  const ownCa = caAddress !== null;
  return {
    xds: {
      address: control,
      name: values.controlName,
      root: controlRoot,
      headers: prefixed(environment, "XDS_HEADER_"),
    },
    ca: {
      address: caAddress ?? control,
      name: ownCa ? values.caAddressName : (values.caAddressName ?? values.controlName),
      root: values.caAddressRoot ?? controlRoot,
      headers: prefixed(environment, "CA_HEADER_"),
    },
    pin: caPin,
    joinToken,
    token: tokenFile,
    stateDirectory,
    joinAddresses: values.joinAddresses,
    joinLabels: Object.fromEntries(values.joinLabels),
    node: describeNode(environment, fail),
  };
}

/** Whoever gives a token and no control plane has lost a word, and would not notice. Variables that ztunnel has may stand there unused. */
function checkOrphans(values: SettingValues, fail: (where: string, message: string) => void): void {
  for (const name of ["joinToken", "caPin"] as const)
    if (values[name] !== null) fail(settings[name].flag, "needs --control https://HOST:15012");
}

function prefixed(environment: Environment, prefix: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment))
    if (name.startsWith(prefix) && name.length > prefix.length && value !== undefined)
      found[name.slice(prefix.length).toLowerCase()] = value;
  return found;
}

function describeNode(
  environment: Environment,
  fail: (where: string, message: string) => void,
): NodeDescription {
  const metadata: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(environment)) {
    if (value === undefined) continue;
    if (name.startsWith("ISTIO_METAJSON_")) {
      try {
        metadata[name.slice("ISTIO_METAJSON_".length)] = JSON.parse(value);
      } catch {
        fail(name, "is not JSON");
      }
    } else if (name.startsWith("ISTIO_META_")) metadata[name.slice("ISTIO_META_".length)] = value;
  }
  return {
    podName: environment.POD_NAME ?? "",
    podNamespace: environment.POD_NAMESPACE ?? "",
    instanceIp: environment.INSTANCE_IP ?? "",
    metadata,
  };
}
