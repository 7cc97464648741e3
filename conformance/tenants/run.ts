/** `npm run conformance -- tenants` */
import { parseArgs } from "node:util";
import { cleanUpOnExit, scratchDirectory } from "../peer/lab/cleanup.ts";
import { Tally } from "../peer/tally.ts";
import { type Check, ownershipCases } from "./ownership.ts";
import { shareCases } from "./shares.ts";
import { trustCases } from "./trust.ts";
import { World } from "./world.ts";

const usage = `usage: npm run conformance -- tenants

A real control plane with an administrator of its mesh and two tenants. Each case is something that one tenant tries against the other,
or against the mesh; it passes when it was refused, with whose it is.
`;

/** @returns the exit code. */
export async function tenantConformance(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({ args: [...argv], options: { help: { type: "boolean", default: false } } });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  cleanUpOnExit();
  const tally = new Tally(true);
  const check: Check = async (name, run) => {
    try {
      tally.check(name, await run());
    } catch (error) {
      tally.fail(name, error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
  };
  const world = await World.start(scratchDirectory("tenants"));
  try {
    await ownershipCases(world, check);
    await trustCases(world, check);
    await shareCases(world, check);
  } catch (error) {
    tally.fail("tenants", error instanceof Error ? (error.stack ?? error.message) : String(error));
  } finally {
    await world.close();
  }
  console.log(tally.summary());
  return tally.count("failed") === 0 ? 0 : 1;
}
