/** The table of settings as options of a command, and what was given of them as sources for the loader. */
import { type Command, Option } from "commander";
import type { LoadedControlPlane } from "../config/control/config.ts";
import { loadConfig, loadControlPlane } from "../config/load.ts";
import type { LoadedConfig } from "../config/node/assemble.ts";
import { type SettingName, settings } from "../config/settings.ts";
import type { ConfigSources } from "../config/sources.ts";
import type { CliBindings } from "./bindings.ts";

/** @param unlisted settings that are taken, to be judged where they are read, and no help names. */
export function addSettingOptions(
  command: Command,
  names: readonly SettingName[],
  unlisted: readonly SettingName[] = [],
): void {
  command
    .optionsGroup("Options:")
    .option("--config <PATH>", "a YAML file with any of these settings by name");
  for (const name of names) command.addOption(settingOption(name).hideHelp(unlisted.includes(name)));
}

const allSettings = Object.keys(settings) as readonly SettingName[];

function settingOption(name: SettingName): Option {
  const setting = settings[name];
  const flags = "short" in setting ? `${setting.short}, ${setting.flag}` : setting.flag;
  // Documents are many by nature: `-f a b` as well as `-f a -f b`.
  const variadic = name === "mesh";
  const option = new Option(`${flags} <${setting.hint}${variadic ? "..." : ""}>`, describe(name));
  if (!variadic) option.argParser(collect);
  return option.helpGroup(`${setting.group}:`);
}

/** The last of two different values must not win in silence, so all are kept; the loader judges. */
function collect(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), value];
}

function describe(name: SettingName): string {
  const setting = settings[name];
  const notes: string[] = [];
  if (setting.many && name !== "mesh") notes.push("may be repeated");
  if (!setting.many && setting.fallback !== null && setting.fallback !== "")
    notes.push(`default ${setting.fallback}`);
  if ("environment" in setting) notes.push(`env ${setting.environment.join(", ")}`);
  return notes.length === 0 ? setting.help : `${setting.help} (${notes.join("; ")})`;
}

/** @throws MeshError `io` when the file of `--config` cannot be read. */
export async function loadFromOptions(
  bindings: CliBindings,
  options: Readonly<Record<string, unknown>>,
): Promise<LoadedConfig> {
  return loadConfig(await sourcesOf(bindings, options));
}

/** @throws MeshError `io` when the file of `--config` cannot be read. */
export async function loadControlPlaneFromOptions(
  bindings: CliBindings,
  options: Readonly<Record<string, unknown>>,
): Promise<LoadedControlPlane> {
  return loadControlPlane(await sourcesOf(bindings, options));
}

async function sourcesOf(
  bindings: CliBindings,
  options: Readonly<Record<string, unknown>>,
): Promise<ConfigSources> {
  const flags = new Map<SettingName, readonly string[]>();
  for (const name of allSettings) {
    const value = options[settingOption(name).attributeName()];
    if (Array.isArray(value)) flags.set(name, value);
  }
  const path = options.config;
  const file = typeof path === "string" ? { path, text: await bindings.readText(path) } : null;
  return { flags, environment: bindings.environment, file };
}
