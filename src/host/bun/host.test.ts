/** The contract on real sockets, over both families. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assert } from "../../base/assert.ts";
import { IpAddress } from "../../base/ip.ts";
import { type HostFixture, hostContract } from "../testing/contract.ts";
import { fullBacklog } from "../testing/full_backlog.ts";
import { createBunHost } from "./host.ts";

const PATIENCE_MS = 8_000;

async function fixture(address: string): Promise<HostFixture> {
  const ip = IpAddress.parse(address);
  assert(ip !== null, "an address");
  const directory = await mkdtemp(join(tmpdir(), "fairlead-host-"));
  const blackhole = await fullBacklog();
  return {
    host: createBunHost(),
    address: ip,
    blackhole: blackhole.address,
    directory,
    async until(condition, what) {
      const deadline = performance.now() + PATIENCE_MS;
      while (!condition()) {
        if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`);
        await Bun.sleep(1);
      }
    },
    settled: (promise) => promise,
    pass: (milliseconds) => Bun.sleep(milliseconds),
    async close() {
      blackhole.close();
      await rm(directory, { recursive: true });
    },
  };
}

hostContract("bun, IPv4,", () => fixture("127.0.0.1"));
hostContract("bun, IPv6,", () => fixture("::1"));
