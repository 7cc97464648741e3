/** The sizes that Istio's schema allows (`manifests/charts/base/files/crd-all.gen.yaml`). */
import type { Located, ObjectReader, Problems } from "../reader.ts";

/** Of a list or a map. */
export function checkCount(
  reader: ObjectReader,
  field: string,
  count: number,
  most: number,
  problems: Problems,
): void {
  if (count > most)
    problems.add(
      reader.where(field),
      `${reader.path(field)} has ${count} entries; Istio takes ${most}`,
      field,
    );
}

/** Of a text, in characters. */
export function checkLength(
  read: Located<string> | null,
  path: string,
  most: number,
  problems: Problems,
): void {
  if (read !== null && read.value.length > most)
    problems.add(read.at, `${path} has ${read.value.length} characters; Istio takes ${most}`, read.value);
}
