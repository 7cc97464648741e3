/** Sections from one image to another, as far as that one has room. */
import { expect, test } from "bun:test";
import { policyLimits } from "../../base/limits/policy.ts";
import { connection, match, policy, rule } from "../testing/policy_fixtures.ts";
import { compileSection } from "./compile.ts";
import { type LoadedSection, PolicyImage } from "./image.ts";
import { copyKept, copyLayers } from "./section_layers.ts";

const on = (name: string, port: number) =>
  policy({ name, rules: [rule([match({ destinationPorts: [port] })])] });
const [eighty, ninety] = [on("eighty", 80), on("ninety", 90)];

function load(image: PolicyImage, ...policies: Parameters<typeof compileSection>[0]): LoadedSection {
  const compiled = compileSection(policies, policyLimits);
  const loaded = compiled === null ? null : image.load(compiled);
  if (loaded === null) throw new Error("it does not fit");
  return loaded;
}

function imageOf(maxImageBytes: number): PolicyImage {
  return new PolicyImage({ ...policyLimits, maxImageBytes });
}

/** Which ports its rules are for. */
function portsOf(image: PolicyImage, section: LoadedSection | null): readonly number[] {
  if (section === null) return [];
  return [80, 90].filter((destinationPort) => {
    image.setRequest(connection({ destinationPort }));
    return image.firstMatch(section, null, 0) !== -1;
  });
}

test("layers are copied as they are, those that are not there too", () => {
  const from = imageOf(policyLimits.maxImageBytes);
  const [base, recent] = [load(from, eighty), load(from, ninety)];
  for (const layers of [
    { base, recent },
    { base, recent: null },
    { base: null, recent },
    { base: null, recent: null },
  ]) {
    const to = imageOf(policyLimits.maxImageBytes);
    const copied = copyLayers(layers, from, to);
    if (typeof copied === "string") throw new Error(copied);
    expect([portsOf(to, copied.base), portsOf(to, copied.recent)]).toEqual([
      layers.base === null ? [] : [80],
      layers.recent === null ? [] : [90],
    ]);
    expect([copied.base === null, copied.recent === null]).toEqual([
      layers.base === null,
      layers.recent === null,
    ]);
  }
});

test("layers of which one has no room are refused together", () => {
  const from = imageOf(policyLimits.maxImageBytes);
  const [base, recent] = [load(from, eighty, ninety), load(from, ninety)];
  expect(recent.byteLength).toBeLessThan(base.byteLength);
  const copied = (bytes: number, layers: Parameters<typeof copyLayers>[0]) =>
    typeof copyLayers(layers, from, imageOf(bytes)) === "string";
  const whole = base.byteLength + recent.byteLength;
  expect([copied(whole, { base, recent }), copied(whole - 1, { base, recent })]).toEqual([false, true]);
  // The larger has none, and the smaller would.
  expect(copied(base.byteLength - 1, { base, recent })).toBe(true);
  expect(copied(recent.byteLength, { base: null, recent })).toBe(false);
  expect(copied(recent.byteLength - 1, { base: null, recent })).toBe(true);
  expect(copied(base.byteLength - 1, { base, recent: null })).toBe(true);
  expect(copied(0, { base: null, recent: null })).toBe(false);
});

test("a section is copied without the policies that are gone, or not at all", () => {
  const from = imageOf(policyLimits.maxImageBytes);
  const section = load(from, eighty, ninety);
  const kept = (...those: readonly (typeof eighty)[]) => {
    const to = imageOf(section.byteLength);
    const copy = copyKept(section, from, to, new Set(those));
    return typeof copy === "string" ? copy : portsOf(to, copy);
  };
  expect(kept(eighty, ninety)).toEqual([80, 90]);
  expect(kept(ninety)).toEqual([90]);
  expect(kept(eighty)).toEqual([80]);
  expect(kept()).toEqual([]);
  expect(portsOf(from, section)).toEqual([80, 90]);
  const small = imageOf(section.byteLength - 1);
  expect(copyKept(section, from, small, new Set([eighty, ninety]))).toBe("crowded_out");
  expect(copyKept(null, from, small, new Set())).toBeNull();
});
