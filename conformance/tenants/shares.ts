/** What one tenant, or a stranger, tries to use up for all others. */
import type { Check } from "./ownership.ts";
import { type Answer, seeded, type World } from "./world.ts";

/** More than what is left of any share. */
const mostTries = 30;

/** Made until it is refused. @returns how many were made, and how it was refused. */
async function exhaust(
  make: (index: number) => Promise<Answer>,
): Promise<{ readonly made: number; readonly refused: Answer | null }> {
  for (let made = 0; made < mostTries; made++) {
    const answer = await make(made);
    if (answer.status !== 201) return { made, refused: answer };
  }
  return { made: mostTries, refused: null };
}

export async function shareCases(world: World, check: Check): Promise<void> {
  const { root, shop, apes, control } = world;
  const token = (who: typeof root, group: string) =>
    who.ask("POST", "/v1/join-tokens", { binding: { kind: "group", group }, ttlMs: 60_000 });
  const revoke = (who: typeof root, value: string) =>
    who.ask("POST", "/v1/revocations", { kind: "identity", value });

  await check("all the join tokens there can be", async () => {
    const { made, refused } = await exhaust(() => token(apes, "apes/batch"));
    if (made === 0 || refused === null) return `${seeded.tokens} and ${made} were made: ${refused?.text}`;
    if (!refused.text.includes("namespace apes")) return refused.text;
    const others = [await token(shop, "shop/shop-secret-batch"), await token(root, "apes/batch")];
    return others.every((one) => one.status === 201) ? null : others.map((one) => one.text).join();
  });
  await check("all the revocations there can be, of identities that never were", async () => {
    const of = (namespace: string, name: string) => `spiffe://cluster.local/ns/${namespace}/sa/${name}`;
    const { made, refused } = await exhaust((index) => revoke(apes, of("apes", `more-${index}`)));
    if (made === 0 || refused === null)
      return `${seeded.revocations} and ${made} were made: ${refused?.text}`;
    if (!refused.text.includes("namespace apes")) return refused.text;
    const others = [await revoke(shop, of("shop", "real")), await revoke(root, of("apes", "real"))];
    if (!others.every((one) => one.status === 201)) return others.map((one) => one.text).join();
    const shown = await root.revocations();
    return shown.includes(of("shop", "real")) && shown.includes(of("apes", "real"))
      ? null
      : "they are not listed";
  });
  await check("a tenant's pages hold its own revocations alone, however many another has", async () => {
    const shown = await shop.revocations();
    const foreign = shown.find((value) => value.includes("/ns/apes/"));
    return foreign === undefined && shown.length > 0 ? null : `${shown.length} with ${foreign}`;
  });
  await check("every call of an address, by credentials that are worth nothing", async () => {
    const statuses: number[] = [];
    for (let round = 0; round < 60 && !statuses.includes(429); round++) {
      // A connection is taken so many requests on; a stranger opens the next.
      const stranger = world.stranger();
      const calls = Array.from({ length: 50 }, () => stranger.ask("GET", "/v1/status"));
      statuses.push(...(await Promise.all(calls)).map(({ status }) => status));
      await stranger.close();
    }
    if (!statuses.includes(429)) return `none of ${statuses.length} was too many`;
    const tenant = await shop.ask("GET", "/v1/status");
    const administrator = await control.command("status");
    if (tenant.status !== 200) return `a tenant was answered ${tenant.status}`;
    return administrator.code === 0 ? null : administrator.err;
  });
}
