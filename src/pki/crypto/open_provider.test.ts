import { expect, test } from "bun:test";
import { openProvider } from "./open_provider.ts";

test("the provider that is named is the one that is opened, and says so", async () => {
  const runtime = await openProvider("runtime");
  expect([runtime.name, runtime.crypto === globalThis.crypto]).toEqual(["runtime", true]);
  const peculiar = await openProvider("peculiar");
  expect([peculiar.name, peculiar.crypto === globalThis.crypto]).toEqual(["peculiar", false]);
});
