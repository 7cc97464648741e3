import { describe, expect, test } from "bun:test";
import { IpAddress } from "../../base/ip.ts";
import { proxyLimits } from "../../base/limits/proxy.ts";
import { outcomeOf, rejectionOf } from "../../base/testing/rejection.ts";
import type { Clock } from "../../host/host.ts";
import { attemptOrder, firstOf } from "./attempts.ts";

const ips = (text: string): IpAddress[] => text.split(" ").flatMap((one) => IpAddress.parse(one) ?? []);
const order = (resolved: string, family: "IPV4" | "IPV6" | null, random = 0) =>
  attemptOrder(ips(resolved), family, () => random)
    .map(({ text }) => text)
    .join(" ");

describe("RFC 8305 §4, the order", () => {
  test.each([
    [
      "families in turn, from the resolver's first",
      "2001:db8::1 2001:db8::2 192.0.2.1",
      null,
      0,
      "2001:db8::1 192.0.2.1 2001:db8::2",
    ],
    [
      "an IPv4 address that the resolver puts first stays first",
      "192.0.2.1 2001:db8::1",
      null,
      0,
      "192.0.2.1 2001:db8::1",
    ],
    ["the family that was called comes first", "192.0.2.1 2001:db8::1", "IPV6", 0, "2001:db8::1 192.0.2.1"],
    ["a family that is wanted and not there is no reason to give up", "192.0.2.1", "IPV6", 0, "192.0.2.1"],
    [
      "several of one family share the calls",
      "192.0.2.1 192.0.2.2 192.0.2.3",
      null,
      0.5,
      "192.0.2.2 192.0.2.3 192.0.2.1",
    ],
  ] as const)("%s", (_what, resolved, family, random, expected) => {
    expect(order(resolved, family, random)).toBe(expected);
  });

  test("two of one family share the calls as well, and one alone costs no random number", () => {
    expect(order("192.0.2.1 192.0.2.2", null, 0.5)).toBe("192.0.2.2 192.0.2.1");
    const none = (): number => {
      throw new Error("there is nothing to choose");
    };
    expect(attemptOrder(ips("192.0.2.1 2001:db8::1"), "IPV4", none).map(({ text }) => text)).toEqual([
      "192.0.2.1",
      "2001:db8::1",
    ]);
  });

  test("so many are tried and no more", () => {
    const many = Array.from({ length: 50 }, (_, index) => `192.0.2.${index}`).join(" ");
    expect(order(many, null).split(" ").length).toBe(proxyLimits.maxAddressesTried);
  });
});

describe("RFC 8305 §5, the attempts", () => {
  function trying(targets: readonly string[], isWanted = () => true) {
    const timers = new Set<() => void>();
    const clock = {
      setTimer: (_delayMs: number, callback: () => void) => {
        timers.add(callback);
        return { cancel: () => timers.delete(callback) };
      },
    } as unknown as Clock;
    const begun: string[] = [];
    const discarded: string[] = [];
    const ends = new Map<string, { resolve(): void; reject(): void }>();
    const result = firstOf({
      clock,
      targets,
      attempt: (target: string) => {
        begun.push(target);
        return new Promise<string>((resolve, reject) =>
          ends.set(target, {
            resolve: () => resolve(target),
            reject: () => reject(new Error(`${target} failed`)),
          }),
        );
      },
      discard: (late) => discarded.push(late),
      isWanted,
    });
    result.catch(() => {});
    const settle = async (target: string, how: "resolve" | "reject") => {
      ends.get(target)?.[how]();
      for (let turn = 0; turn < 5; turn++) await Promise.resolve();
    };
    const delay = () => {
      const [due] = timers;
      if (due === undefined) return;
      timers.delete(due);
      due();
    };
    return { result, begun, discarded, settle, delay, timers };
  }

  test("one that answers at once is the only one that is tried", async () => {
    const { result, begun, settle, timers } = trying(["a", "b"]);
    await settle("a", "resolve");
    expect([await result, begun, timers.size]).toEqual(["a", ["a"], 0]);
  });

  test("one that fails makes room for the next at once", async () => {
    const { result, begun, settle } = trying(["a", "b"]);
    await settle("a", "reject");
    expect(begun).toEqual(["a", "b"]);
    await settle("b", "resolve");
    expect(await result).toBe("b");
  });

  test("beside one that does not answer the next is tried after a moment; what comes late is given back", async () => {
    const { result, begun, discarded, settle, delay } = trying(["a", "b", "c"]);
    delay();
    expect(begun).toEqual(["a", "b"]);
    await settle("b", "resolve");
    await settle("a", "resolve");
    delay();
    expect([await result, begun, discarded]).toEqual(["b", ["a", "b"], ["a"]]);
  });

  test("one that fails after another was taken makes room for none", async () => {
    const { result, begun, settle, delay, timers } = trying(["a", "b", "c"]);
    delay();
    await settle("b", "resolve");
    await settle("a", "reject");
    expect([await result, begun, timers.size]).toEqual(["b", ["a", "b"], 0]);
  });

  test("beside the last nothing is waited for", () => {
    expect(trying(["a"]).timers.size).toBe(0);
  });

  test("the last that fails leaves those that are under way their time", async () => {
    const { result, settle, delay } = trying(["a", "b"]);
    delay();
    await settle("b", "reject");
    await settle("a", "resolve");
    expect(await result).toBe("a");
  });

  test("when all have failed the first one's reason is told", async () => {
    const { result, settle } = trying(["a", "b"]);
    let isTold = false;
    result.catch(() => {
      isTold = true;
    });
    await settle("a", "reject");
    expect(isTold).toBe(false);
    await settle("b", "reject");
    expect(isTold).toBe(true);
    expect(await outcomeOf(result)).toThrow("a failed");
  });

  test("nothing more is tried for a caller that has left", async () => {
    const { result, begun, settle } = trying(["a", "b"], () => false);
    await settle("a", "reject");
    expect(begun).toEqual(["a"]);
    expect(await outcomeOf(result)).toThrow("a failed");
  });

  test("without a target there is nothing to wait for", async () => {
    expect(await rejectionOf(trying([]).result)).toMatchObject({ code: "connect_unreachable" });
  });
});
