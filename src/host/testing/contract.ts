/**
 * What every Host keeps, as tests. Code above the Host is written against this and nothing else, so a difference between
 * the real host and the simulator is a bug that only production would find.
 */
import { afterAll, beforeAll, describe } from "bun:test";
import { assert } from "../../base/assert.ts";
import type { IpAddress, SocketAddress } from "../../base/ip.ts";
import type { Host } from "../host.ts";
import { contractClock } from "./contract_clock.ts";
import { contractConnect } from "./contract_connect.ts";
import { contractEnds } from "./contract_ends.ts";
import { contractFiles } from "./contract_files.ts";
import { contractSockets } from "./contract_sockets.ts";
import { contractTls } from "./contract_tls.ts";
import { contractUdp } from "./contract_udp.ts";
import { contractUnix } from "./contract_unix.ts";

/** A Host under test, and the passing of its time. */
export interface HostFixture {
  readonly host: Host;
  /** An address of this host, to listen on and to dial. */
  readonly address: IpAddress;
  /** Where a connect gets no answer at all. */
  readonly blackhole: SocketAddress;
  /** An existing, empty directory. */
  readonly directory: string;
  /** Lets time pass until `condition` holds. @throws after some seconds of the host's time. */
  until(condition: () => boolean, what: string): Promise<void>;
  /** Lets time pass until `promise` is settled, and gives what it gave. */
  settled<T>(promise: Promise<T>): Promise<T>;
  /** Lets so much of the host's time pass. */
  pass(milliseconds: number): Promise<void>;
  close(): Promise<void>;
}

/** @param makeFixture is called once, before the first test. */
export function hostContract(name: string, makeFixture: () => Promise<HostFixture>): void {
  describe(`${name} host`, () => {
    let made: HostFixture | null = null;
    beforeAll(async () => {
      made = await makeFixture();
    });
    afterAll(async () => {
      await made?.close();
    });
    const fixture = (): HostFixture => {
      assert(made !== null, "the fixture is made before the first test");
      return made;
    };
    describe("sockets", () => contractSockets(fixture));
    describe("ends of a connection", () => contractEnds(fixture));
    describe("listen and connect", () => contractConnect(fixture));
    describe("UDP", () => contractUdp(fixture));
    describe("Unix sockets", () => contractUnix(fixture));
    describe("TLS", () => contractTls(fixture));
    describe("clock and randomness", () => contractClock(fixture));
    describe("files", () => contractFiles(fixture));
  });
}
