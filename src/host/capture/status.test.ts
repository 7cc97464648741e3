/** What another process sees of the rules; conformance/capture has the same with a kernel's own. */
import { expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import type { Host } from "../host.ts";
import { MemoryWorld } from "../memory/world.ts";
import { captureStatus } from "./status.ts";

const whole = `table inet fairlead {
  chain output { tcp redirect to :15001 }
  chain prerouting { tcp redirect to :15006 }
  chain guard { drop }
}`;
const missing = "Error: No such file or directory; did you mean table 'x'?";

/** As the kernel has it: ports in hexadecimal, 0A is one that is listened on. */
function tcpTable(ports: readonly number[]): string {
  const row = (port: number): string =>
    `0: 00000000:${port.toString(16).toUpperCase().padStart(4, "0")} 00000000:0000 0A`;
  return ["sl local_address rem_address st", ...ports.map(row)].join("\n");
}

/** @param listing of nft; null where it may not tell. */
function hostWith(listing: string | null, ports: readonly number[]): Host {
  return {
    clock: new MemoryWorld(1).host("vm", { addresses: ["10.0.0.1"] }).clock,
    files: {
      readText: async (path: string) => {
        if (path === "/proc/net/tcp") return tcpTable(ports);
        throw new MeshError("io", "local", "no such file");
      },
      list: async () => null,
      exists: async () => false,
    },
    process: {
      run: async (program: string, args: readonly string[]) => {
        if (program !== "nft") throw new Error("no such program");
        if (args.includes("--version")) return { exitCode: 0, output: "nftables v1.0.6\n" };
        if (listing === null) return { exitCode: 1, output: "Operation not permitted" };
        return args.includes("fairlead") && listing !== ""
          ? { exitCode: 0, output: listing }
          : { exitCode: 1, output: missing };
      },
    },
  } as unknown as Host;
}

const stateOf = async (listing: string, ports: readonly number[]) =>
  (await captureStatus(hostWith(listing, ports), 15008)).state;

test("rules are in force where each port that they lead to is listened on", async () => {
  expect(await captureStatus(hostWith(whole, [22, 15001, 15006]), 15008)).toMatchObject({
    state: "in force",
    backends: [{ name: "nftables", version: "nftables v1.0.6" }],
    ports: [15001, 15006],
  });
  // One of them answered is not all: what the other captures is refused.
  for (const ports of [[], [15001], [15006], [22]]) expect(await stateOf(whole, ports)).toBe("left behind");
});

test("rules of which a part is gone are incomplete, whoever listens", async () => {
  for (const chain of ["output", "prerouting", "guard"])
    expect(await stateOf(whole.replace(`chain ${chain}`, "chain other"), [15001, 15006])).toBe("incomplete");
});

test("without rules there are none, and where they cannot be told that is said", async () => {
  expect(await captureStatus(hostWith("", [15001, 15006]), 15008)).toEqual({
    ...{ state: "none", backends: [], ports: [], findings: [] },
  });
  expect(await rejectionOf(captureStatus(hostWith(null, []), 15008))).toMatchObject({
    code: "permission_denied",
  });
});
