/** What one setting is: its flag, environment names, reader, default and help. */
import type { Reader } from "./value.ts";

export interface Described {
  /** `--node`. */
  readonly flag: string;
  readonly short?: string;
  /** What stands for the value in the help. */
  readonly hint: string;
  readonly help: string;
  readonly group: SettingGroup;
  /** The first that is set wins. */
  readonly environment?: readonly string[];
}

export type SettingGroup =
  | "Mesh"
  | "Control plane"
  | "Waypoint"
  | "Keys"
  | "Audit"
  | "Identity"
  | "Traffic"
  | "Ways in"
  | "Names"
  | "Administration"
  | "Tuning";

/** A setting with one value. */
export interface OneSetting<T> extends Described {
  readonly many: false;
  readonly read: Reader<T>;
  /** As it would be written; null when there is none and the value is then null. */
  readonly fallback: string | null;
  /** Environment values in ztunnel's words, put into ours. */
  readonly translate?: Readonly<Record<string, string>>;
}

/** A setting that may be given several times. */
export interface ManySetting<T> extends Described {
  readonly many: true;
  readonly read: Reader<T>;
}

export function one<T>(
  read: Reader<T>,
  fallback: string,
  rest: Described & Pick<OneSetting<T>, "translate">,
): OneSetting<T> {
  return { many: false, read, fallback, ...rest };
}

export function optional<T>(read: Reader<T>, rest: Described): OneSetting<T | null> {
  return { many: false, read, fallback: null, ...rest };
}

export function many<T>(read: Reader<T>, rest: Described): ManySetting<T> {
  return { many: true, read, ...rest };
}
