/**
 * Flags, environment and file → Config, or every error at once. A flag wins over the environment, that over the file,
 * that over the default. This is the only reader of environment names.
 */
import { configLimits } from "../base/limits/config.ts";
import { formatLocation } from "../mesh/location.ts";
import { type FileValues, parseConfigFile } from "./config_file.ts";
import { assembleControlPlane, type LoadedControlPlane } from "./control/config.ts";
import { assembleConfig, type LoadedConfig } from "./node/assemble.ts";
import type { ManySetting, OneSetting } from "./setting.ts";
import {
  controlPlaneSettingNames,
  nodeSettingNames,
  type SettingName,
  type SettingValues,
  settings,
} from "./settings.ts";
import type { ConfigError, ConfigSources } from "./sources.ts";
import { Invalid } from "./value.ts";

/** For a node. */
export function loadConfig(sources: ConfigSources): LoadedConfig {
  const { values, errors } = loadSettings(sources, nodeSettingNames, "a node");
  return values === null ? { config: null, errors } : assembleConfig(values, sources.environment);
}

/** For the control plane. */
export function loadControlPlane(sources: ConfigSources): LoadedControlPlane {
  const { values, errors } = loadSettings(sources, controlPlaneSettingNames, "a control plane");
  return values === null ? { config: null, errors } : assembleControlPlane(values, sources.environment);
}

type LoadedSettings =
  | { readonly values: SettingValues; readonly errors: readonly [] }
  | { readonly values: null; readonly errors: readonly ConfigError[] };

/** @param names those that mean something here; of the others the defaults count, and a file that gives one is wrong. */
function loadSettings(sources: ConfigSources, names: readonly SettingName[], what: string): LoadedSettings {
  const errors: ConfigError[] = checkEnvironment(sources.environment);
  const file: FileValues =
    sources.file === null
      ? { values: new Map(), errors: [] }
      : parseConfigFile(sources.file.path, sources.file.text);
  errors.push(...file.errors);
  for (const [name, [first]] of file.values)
    if (!names.includes(name) && first !== undefined)
      errors.push({ where: formatLocation(first.location), message: `${name} is not a setting of ${what}` });
  const values: Partial<Record<SettingName, unknown>> = {};
  for (const name of Object.keys(settings) as SettingName[])
    values[name] = readSetting(name, names.includes(name) ? given(name, sources, file) : [], errors);
  if (errors.length > 0) return { values: null, errors };
  // Every name of the table was read without an error just now, each by its own reader.
  return { values: values as SettingValues, errors: [] };
}

/** It would make the TLS library accept every certificate. Our own verification would still hold, but there is no good reason to set it. */
function checkEnvironment(environment: ConfigSources["environment"]): ConfigError[] {
  if (environment.NODE_TLS_REJECT_UNAUTHORIZED === undefined) return [];
  return [
    {
      where: "NODE_TLS_REJECT_UNAUTHORIZED",
      message: "is set, which switches off certificate checks in the runtime; unset it",
    },
  ];
}

interface Given {
  readonly where: string;
  readonly text: string;
}

/** The texts of one setting, from the strongest source that has any; empty when none has. */
function given(name: SettingName, sources: ConfigSources, file: FileValues): readonly Given[] {
  const setting = settings[name];
  const flags = sources.flags.get(name) ?? [];
  if (flags.length > 0) return flags.map((text) => ({ where: setting.flag, text }));
  for (const variable of "environment" in setting ? setting.environment : []) {
    const value = sources.environment[variable];
    // An empty variable is how a unit file or a shell says "not set".
    if (value === undefined || value === "") continue;
    return [{ where: variable, text: translate(setting, value) }];
  }
  return (file.values.get(name) ?? []).map(({ location, text }) => ({
    where: formatLocation(location),
    text,
  }));
}

function translate(setting: OneSetting<unknown> | ManySetting<unknown>, value: string): string {
  return setting.many ? value : (setting.translate?.[value] ?? value);
}

function readSetting(name: SettingName, texts: readonly Given[], errors: ConfigError[]): unknown {
  const setting: OneSetting<unknown> | ManySetting<unknown> = settings[name];
  const read = ({ where, text }: Given): unknown => {
    const value = setting.read(text);
    if (!(value instanceof Invalid)) return value;
    errors.push({ where, message: `"${text}" is ${value.reason}` });
    return null;
  };
  if (setting.many) {
    if (texts.length > configLimits.maxValues)
      errors.push({
        where: texts[0]?.where ?? name,
        message: `given ${texts.length} times; at most ${configLimits.maxValues}`,
      });
    return texts.slice(0, configLimits.maxValues).map(read);
  }
  if (texts.length > 1) errors.push({ where: texts[1]?.where ?? name, message: "is given more than once" });
  const only = texts[0];
  if (only !== undefined) return read(only);
  return setting.fallback === null ? null : setting.read(setting.fallback);
}
