// Lists of atoms: numbered string values of one section. Which of them an identity satisfies was found out when it was interned.
import { ATOMS_HEADER_BYTES } from "./layout";

function contains(list: u32, atom: u32): bool {
  let low: u32 = 0;
  let high = load<u32>(list);
  const items = list + ATOMS_HEADER_BYTES;
  while (low < high) {
    const middle = (low + high) >> 1;
    const item = load<u32>(items + (middle << 2));
    if (item == atom) return true;
    if (item < atom) low = middle + 1;
    else high = middle;
  }
  return false;
}

/** Whether the two sorted lists share an atom. `held` is the identity's and short. */
export function intersects(list: u32, held: u32): bool {
  const count = load<u32>(held);
  for (let index: u32 = 0; index < count; index++) {
    if (contains(list, load<u32>(held + ATOMS_HEADER_BYTES + (index << 2)))) return true;
  }
  return false;
}
