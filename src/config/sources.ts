/** Where settings come from, and how a wrong one is told. */
import type { SettingName } from "./settings.ts";

export interface ConfigError {
  /** `--hbone-port`, `HTTP2_FRAME_SIZE` or `fairlead.yaml:3:7`. */
  readonly where: string;
  readonly message: string;
}

export interface ConfigSources {
  /** By setting, as given on the command line, in order. */
  readonly flags: ReadonlyMap<SettingName, readonly string[]>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The file of `--config`; null without one. */
  readonly file: { readonly path: string; readonly text: string } | null;
}
