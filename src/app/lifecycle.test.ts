/** Start and end of a program: what was set up is taken back, whatever fails. */
import { describe, expect, test } from "bun:test";
import { type Lifecycle, startWithin } from "./lifecycle.ts";

class Told {
  readonly lines: string[] = [];
  flushes = 0;
  log(level: string, _target: string, message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.lines.push(`${level} ${message}: ${String(fields?.error)}`);
  }
  flush(): void {
    this.flushes++;
  }
}

/** A start that is over, and the order in which it is taken back. */
async function started(): Promise<{ life: Lifecycle; undone: string[]; told: Told }> {
  const undone: string[] = [];
  const told = new Told();
  const life = await startWithin(told, async (own) => {
    for (const name of ["state", "keys", "port"]) own.onStop(() => void undone.push(name));
    return own;
  });
  return { life, undone, told };
}

describe("a program's end", () => {
  test("takes back in the opposite order, once, and every caller waits for the last step", async () => {
    const { life, undone, told } = await started();
    await Promise.all([life.stop(), life.stop()]);
    expect(undone).toEqual(["port", "keys", "state"]);
    expect(told.flushes).toBe(1);
  });

  test("goes on after a step that fails, and says which failed", async () => {
    const { life, undone, told } = await started();
    life.onStop(() => Promise.reject(new Error("nft is gone")));
    await life.stop();
    expect(undone).toEqual(["port", "keys", "state"]);
    expect(told.lines).toEqual(["error a part of the program could not be stopped: nft is gone"]);
  });

  test("takes back at once what is set up while it stops, and after it has stopped", async () => {
    const { life, undone } = await started();
    life.onStop(async () => life.onStop(() => void undone.push("late")));
    await life.stop();
    life.onStop(async () => void undone.push("after"));
    await life.stop();
    expect(undone).toEqual(["late", "port", "keys", "state", "after"]);
  });

  test("a start that fails leaves nothing behind", async () => {
    const undone: string[] = [];
    const start = startWithin(new Told(), async (life) => {
      life.onStop(() => void undone.push("state"));
      throw new Error("the port is taken");
    });
    expect(await start.catch((error: Error) => error.message)).toBe("the port is taken");
    expect(undone).toEqual(["state"]);
  });
});
