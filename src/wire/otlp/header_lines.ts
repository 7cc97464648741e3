/** Headers for collectors, in a file: a key of the operator's must not be in a command line. */
import { MeshError } from "../../base/errors.ts";

/**
 * `Name: value` lines; empty ones and those that begin with `#` are left out.
 *
 * @param path for messages. @returns names in lower case. @throws MeshError `configuration`, which repeats no value: they are secrets.
 */
export function readHeaderLines(text: string, path: string, most: number): Readonly<Record<string, string>> {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "" && !line.startsWith("#"));
  if (lines.length > most)
    throw new MeshError("configuration", "local", `${path} has more than ${most} headers`);
  return Object.fromEntries(
    lines.map((line, index) => {
      const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*:\s*(.*?)\s*$/.exec(line) ?? [];
      if (name === undefined || value === undefined)
        throw new MeshError("configuration", "local", `${path}, line ${index + 1}: not "Name: value"`);
      return [name.toLowerCase(), value];
    }),
  );
}
