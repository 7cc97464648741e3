import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { keysLimits } from "../../base/limits/control.ts";
import { WatchSource } from "../../base/watch.ts";
import type { Revocation } from "../../pki/issue/crl.ts";
import { parseRevocationList } from "../../pki/x509/crl.ts";
import type { RevocationRow } from "../records/keys.ts";
import { type AuthorityView, authorityView, type LoadedAuthority } from "./authority_view.ts";
import type { OutsideAuthority } from "./outside_lists.ts";
import { RevocationPublisher } from "./revocation_publisher.ts";
import { openMesh, provider } from "./testing/fixture.ts";

/** The lists of one authority, the intermediate that issues; what is above it is another's. */
async function bench(outside: OutsideAuthority | null = null) {
  const setup = await openMesh();
  setup.mesh.close();
  const { clock, records } = setup;
  const { active } = setup.authorities.view.value;
  if (active?.ca == null) throw new Error("it has a key");
  const { ca } = active;
  const lines: string[] = [];
  const logger = {
    log: (level: string, _target: string, message: string, fields?: unknown) =>
      void lines.push(`${level} ${message} ${JSON.stringify(fields)}`),
  };
  const view = new WatchSource<AuthorityView>(authorityView([active]));
  const publisher = new RevocationPublisher({ clock, provider, logger, records, authorities: view, outside });
  const refresh = async (): Promise<void> => await publisher.refresh();
  await refresh();
  const list = () => parseRevocationList(publisher.bundle.value.crls[0] ?? new Uint8Array());
  return {
    ...{ clock, records, active, ca, lines, publisher, refresh, list },
    show: async (change: Partial<LoadedAuthority>): Promise<void> => {
      view.set(authorityView([{ ...active, ...change }]));
      await refresh();
    },
    revoke: (value: string, change: Partial<RevocationRow> = {}): void => {
      const row = { reason: "", byWhom: "ops", atMs: 5, issuerKey: "", expiresAtMs: null };
      records.revocations.add({ ...row, kind: "serial", value, ...change });
    },
    jumpTo: (wallMs: number): void => clock.jumpWall(wallMs - clock.wallMs()),
  };
}

describe("a revocation list", () => {
  test("is signed again a day after it began, and not before; nor at the moment of its beginning", async () => {
    const { list, jumpTo, refresh } = await bench();
    const { number, thisUpdateMs } = list();
    for (const atMs of [thisUpdateMs, thisUpdateMs + keysLimits.listRenewalMs - 1]) {
      jumpTo(atMs);
      await refresh();
      expect(list().number).toBe(number);
    }
    jumpTo(thisUpdateMs + keysLimits.listRenewalMs);
    await refresh();
    expect(list().number > number).toBe(true);
    // The clock was set back: no node believes what is to begin later.
    const { number: second, thisUpdateMs: begunMs } = list();
    jumpTo(begunMs - 1);
    await refresh();
    expect(list().number > second).toBe(true);
  });

  test("of a key that is kept away is made to last, and made again when a tenth of that is over", async () => {
    const { list, show, jumpTo, refresh } = await bench();
    await show({ keptAway: true });
    const { number, thisUpdateMs, nextUpdateMs } = list();
    const endMs = nextUpdateMs ?? 0;
    expect(Math.abs(endMs - thisUpdateMs - keysLimits.keptAwayLifetimeMs)).toBeLessThanOrEqual(1_000);
    jumpTo(endMs - keysLimits.keptAwayLifetimeMs * keysLimits.keptAwayRenewalShare);
    await refresh();
    expect(list().number).toBe(number);
    jumpTo(endMs - keysLimits.keptAwayLifetimeMs * keysLimits.keptAwayRenewalShare + 1);
    await refresh();
    expect(list().number > number).toBe(true);
  });

  test("whose key is not here is enough until it ends or lacks what was revoked", async () => {
    const { list, show, jumpTo, refresh, revoke, publisher, clock } = await bench();
    const { nextUpdateMs, number } = list();
    const nowMs = clock.wallMs();
    await show({ ca: null, unavailable: "it is away" });
    expect(publisher.pending).toBeNull();
    jumpTo(nextUpdateMs ?? 0);
    await refresh();
    expect(publisher.pending).toBeNull();
    jumpTo((nextUpdateMs ?? 0) + 1);
    await refresh();
    expect([publisher.pending, list().number]).toEqual(["it is away", number]);
    jumpTo(nowMs);
    await refresh();
    expect(publisher.pending).toBeNull();
    revoke("0a");
    await show({ ca: null, unavailable: null });
    expect(publisher.pending).toBe("its key is not here");
  });

  test("names a certificate to its last moment, with a reason of RFC 5280 where one was given", async () => {
    const { active, ca, list, jumpTo, refresh, revoke, clock } = await bench();
    const asked: Revocation[][] = [];
    const sign = ca.revocationList.bind(ca);
    ca.revocationList = async (revoked, ...rest) => {
      asked.push([...revoked]);
      return await sign(revoked, ...rest);
    };
    const expiresAtMs = clock.wallMs();
    const { authorityKey } = active.certificate;
    revoke("0a", { expiresAtMs, reason: "superseded", atMs: 7, issuerKey: authorityKey });
    revoke("0b", { reason: "left the company" });
    revoke("0c", { issuerKey: "another" });
    await refresh();
    expect(asked).toEqual([
      [
        { serialNumber: "0a", revokedAtMs: 7, reason: "superseded" },
        { serialNumber: "0b", revokedAtMs: 5, reason: "privilegeWithdrawn" },
      ],
    ]);
    expect([...list().serialNumbers]).toEqual(["0a", "0b"]);
    jumpTo(expiresAtMs + 1);
    revoke("0d");
    await refresh();
    expect([...list().serialNumbers]).toEqual(["0b", "0d"]);
  });
});

describe("what is published", () => {
  test("is told when it is other than before, and not otherwise", async () => {
    const { publisher, refresh, revoke } = await bench();
    let told = 0;
    publisher.bundle.subscribe(() => void told++);
    await refresh();
    await refresh();
    expect(told).toBe(0);
    revoke("0a");
    await refresh();
    expect(told).toBe(1);
  });

  test("stays as it was once it is closed, before a round or in the middle of one; nothing is waited for", async () => {
    for (const isWithin of [false, true]) {
      const { ca, clock, publisher, records, active, refresh, revoke } = await bench();
      const setting = `revocation_list/${active.id}`;
      const before = { bundle: publisher.bundle.value, list: records.settings.get(setting) };
      const timers = clock.timers;
      const sign = ca.revocationList.bind(ca);
      ca.revocationList = async (...asked) => {
        const der = await sign(...asked);
        if (isWithin) publisher.close();
        return der;
      };
      revoke("0a");
      if (!isWithin) publisher.close();
      await refresh();
      expect(publisher.bundle.value).toBe(before.bundle);
      // A list that was signed is kept: the next process need not sign it.
      expect(records.settings.get(setting) === before.list).toBe(!isWithin);
      expect(clock.timers).toBe(timers - 1);
    }
  });
});

describe("what goes wrong is told once for each time it begins", () => {
  test("a key that does not sign", async () => {
    const { ca, active, lines, refresh, revoke, publisher } = await bench();
    const sign = ca.revocationList.bind(ca);
    const said = `warn a revocation list waits for its key {"authority":"${active.id}","error":"away"}`;
    const away = async (): Promise<never> => {
      throw new MeshError("authority_unavailable", "upstream", "away");
    };
    for (const serial of ["0a", "0b"]) {
      ca.revocationList = away;
      revoke(serial);
      for (let round = 0; round < 3; round++) await refresh();
      expect(publisher.pending).toBe("away");
      ca.revocationList = sign;
      await refresh();
      expect(publisher.pending).toBeNull();
    }
    expect(lines).toEqual([said, said]);
  });

  test("a state that cannot be written", async () => {
    const { records, lines, refresh, revoke, publisher } = await bench();
    const set = records.settings.set;
    records.settings.set = () => {
      throw new MeshError("disk_full", "local", "no room");
    };
    records.settings.remove("revocation_lists");
    for (let round = 0; round < 3; round++) await refresh();
    expect(publisher.pending).toBe("no room");
    records.settings.set = set;
    await refresh();
    revoke("0a");
    await refresh();
    expect(publisher.pending).toBeNull();
    expect(lines).toEqual(['error revocation lists could not be brought up to date {"error":"no room"}']);
  });

  test("a CA outside that does not revoke an intermediate", async () => {
    const outside = {
      revoke: async (): Promise<never> => {
        throw new MeshError("authority_unavailable", "upstream", "sealed");
      },
    };
    const { active, lines, refresh, revoke, publisher } = await bench(outside);
    await refresh();
    expect([publisher.pending, lines]).toEqual([null, []]);
    revoke("0c", { issuerKey: active.above[0]?.authorityKey ?? "" });
    for (let round = 0; round < 3; round++) await refresh();
    expect([publisher.pending, lines]).toEqual([
      "sealed",
      ['warn an intermediate that was replaced is not revoked yet {"error":"sealed"}'],
    ]);
  });
});
