import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { cliLimits } from "../../base/limits/cli.ts";
import type { CliBindings } from "../bindings.ts";
import { plain } from "../style.ts";
import { FakeLive } from "../testing/live.ts";
import { readInterval, top } from "./top.ts";
import { readMetrics, topRows } from "./top_rows.ts";
import { TopView } from "./top_view.ts";

const node = { sockets: ["/s"], address: null };

interface Counts {
  readonly caller?: string;
  readonly service?: string;
  readonly reporter?: string;
  readonly opened?: number;
  readonly closed?: number;
  readonly denied?: number;
  readonly failed?: number;
  readonly received?: number;
  readonly sent?: number;
  readonly requests?: Readonly<Record<string, number>>;
}

function metrics(...all: readonly Counts[]): string {
  return all
    .flatMap(({ caller = "front", service = "back.shop", reporter = "destination", ...counts }) => {
      const labels = `reporter="${reporter}",source_workload="${caller}",source_workload_namespace="shop",destination_service="${service}",destination_workload="w",destination_workload_namespace="shop"`;
      const tcp = (name: string, value = 0, more = "") =>
        `istio_tcp_${name}_total{${labels}${more}} ${value}`;
      return [
        tcp("connections_opened", counts.opened),
        tcp("connections_closed", counts.closed),
        tcp("connections_failed", counts.denied, ',response_flags="DENY"'),
        tcp("connections_failed", counts.failed, ',response_flags="CONNECT"'),
        tcp("received_bytes", counts.received),
        tcp("sent_bytes", counts.sent),
        ...Object.entries(counts.requests ?? {}).map(
          ([code, value]) => `istio_requests_total{${labels},response_code="${code}"} ${value}`,
        ),
      ];
    })
    .join("\n");
}

describe("rates", () => {
  test("are by the second, of what was counted between two readings", () => {
    const before = readMetrics(metrics({ opened: 10, closed: 4, received: 100, sent: 7, denied: 1 }), 1_000);
    const after = metrics({
      opened: 30,
      closed: 5,
      received: 300,
      sent: 67,
      denied: 5,
      failed: 8,
      requests: { 200: 12, 401: 2, 403: 2, 404: 0, 503: 2, 0: 6 },
    });
    expect(topRows(before, readMetrics(after, 3_000), null)).toEqual([
      {
        name: "back.shop",
        connections: 10,
        open: 25,
        requests: 12,
        bytesIn: 100,
        bytesOut: 30,
        denied: 4,
        failed: 8,
      },
    ]);
  });

  test("without an earlier reading there are none, and a node that was started again has none below zero", () => {
    const now = readMetrics(metrics({ opened: 5, closed: 2 }), 0);
    expect(topRows(null, now, null)[0]).toMatchObject({ connections: 0, open: 3 });
    const before = readMetrics(metrics({ opened: 9, closed: 9 }), 0);
    expect(topRows(before, readMetrics(metrics({ opened: 5 }), 1_000), null)[0]?.connections).toBe(0);
  });

  test("a connection that both ends count is one, by the destination's count; callers are summed", () => {
    const ends = (opened: number) =>
      metrics(
        { opened, reporter: "source" },
        { opened: opened + 1, reporter: "destination" },
        { opened: 2, caller: "reports", reporter: "destination" },
        { opened: 3, service: "other.shop", reporter: "source" },
      );
    const rows = topRows(null, readMetrics(ends(5), 0), null);
    expect(rows.map(({ name, open }) => [name, open])).toEqual([
      ["back.shop", 8],
      ["other.shop", 3],
    ]);
    const callers = topRows(null, readMetrics(ends(5), 0), "back.shop");
    expect(callers.map(({ name, open }) => [name, open])).toEqual([
      ["shop/front", 6],
      ["shop/reports", 2],
    ]);
  });
});

function view(...services: readonly (readonly [service: string, opened: number, sent?: number])[]): TopView {
  const made = new TopView();
  made.take(readMetrics(metrics(), 0));
  made.take(
    readMetrics(
      metrics(...services.map(([service, opened, sent = 0]) => ({ service, opened, sent }))),
      1_000,
    ),
  );
  return made;
}

const names = (made: TopView, rows = 24) =>
  made
    .lines({ columns: 80, rows }, plain)
    .slice(2, -1)
    .map((line) => line.split(" ")[0]);

describe("the screen", () => {
  const three = () => view(["a.shop", 1, 30], ["b.shop", 3, 10], ["c.shop", 2, 20]);

  test("fits every size, and shows what tells most where it is narrow", () => {
    for (const columns of [1, 5, 20, 40, 80, 200])
      for (const rows of [1, 2, 3, 5, 24]) {
        const lines = three().lines({ columns, rows }, plain);
        expect(lines.length).toBeLessThanOrEqual(rows);
        if (columns >= 20) for (const line of lines) expect([...line].length).toBeLessThanOrEqual(columns);
      }
    const head = (columns: number) => three().lines({ columns, rows: 9 }, plain)[1]?.trim().split(/\s+/);
    expect(head(20)).toEqual(["SERVICE", "CONN/s"]);
    expect(head(80)).toEqual(["SERVICE", "CONN/s", "DENY/s", "FAIL/s", "REQ/s", "OPEN", "IN/s", "OUT/s"]);
  });

  test("the busiest is first; s sorts by the next column, S by the one before", () => {
    const made = three();
    expect(names(made)).toEqual(["b.shop", "c.shop", "a.shop"]);
    made.key("S");
    expect(names(made)).toEqual(["a.shop", "c.shop", "b.shop"]);
    made.key("s");
    expect(names(made)).toEqual(["b.shop", "c.shop", "a.shop"]);
  });

  test("/ shows what has the letters, escape shows all", () => {
    const made = three();
    for (const key of ["/", "c", "x", "\u007f", "."]) made.key(key);
    expect(names(made)).toEqual(["c.shop"]);
    // While letters are typed, q is one.
    made.key("q");
    expect(names(made)).toEqual([]);
    made.key("\u001b");
    expect(names(made)).toHaveLength(3);
  });

  test("a row is chosen and its callers are shown; escape goes back; q quits", () => {
    const made = three();
    made.key("j");
    made.key("\u001b[B");
    made.key("\r");
    expect(made.lines({ columns: 80, rows: 9 }, plain)[1]).toContain("CALLERS OF c.shop");
    expect(names(made)).toEqual(["shop/front"]);
    made.key("\u001b");
    expect(names(made)).toHaveLength(3);
    expect([made.key("x"), made.key("q"), made.key("\u0003")]).toEqual([true, false, false]);
  });

  test("the chosen row stays on a short screen", () => {
    const made = view(...Array.from({ length: 30 }, (_none, at) => [`s${at}.shop`, 30 - at] as const));
    for (let at = 0; at < 20; at++) made.key("j");
    expect(names(made, 8)).toEqual(["s15.shop", "s16.shop", "s17.shop", "s18.shop", "s19.shop"]);
  });
});

describe("fairlead top", () => {
  const bindings = (live: FakeLive, answers: (number | MeshError)[]): CliBindings => {
    const askAdmin = async () => {
      const answer = answers.shift() ?? 0;
      if (answer instanceof MeshError) throw answer;
      return { status: 200, text: metrics({ opened: answer }) };
    };
    return { live, askAdmin } as unknown as CliBindings;
  };

  test("without a screen it is one table of the rates of one interval", async () => {
    const live = new FakeLive();
    expect(await top(bindings(live, [4, 24]), plain, 2_000, node)).toBe(0);
    const [text = "", ...more] = live.written;
    expect(more).toEqual([]);
    expect(text).toContain("back.shop         10 ");
    expect(text).not.toContain("\u001b");
  });

  test("a node that goes away is said on the screen, which goes on; the terminal is given back at the end", async () => {
    const live = new FakeLive();
    live.screen = { columns: 80, rows: 24 };
    const gone = new MeshError("connect_refused", "upstream", "no node answers");
    let sleeps = 0;
    live.onSleep = () => {
      if (++sleeps === 3) live.press("q");
      return true;
    };
    expect(await top(bindings(live, [4, gone, 24, 30]), plain, 1_000, node)).toBe(0);
    const screens = live.written.slice(1, -1);
    expect(screens.map((text) => text.includes("the node does not answer: no node answers"))).toEqual([
      false,
      true,
      false,
    ]);
    expect(live.written[0]).toContain("\u001b[?1049h");
    expect(live.written.at(-1)).toContain("\u001b[?1049l");
    expect(live.keys.size).toBe(0);
  });

  test("a reader that is gone, or a signal, ends it too", async () => {
    for (const end of ["reader", "signal"]) {
      const live = new FakeLive();
      live.screen = { columns: 80, rows: 24 };
      if (end === "reader") live.readsOn = 1;
      else live.onSleep = () => false;
      expect(await top(bindings(live, []), plain, 1_000, node)).toBe(0);
      expect(live.written.length).toBeLessThan(5);
    }
  });

  test("how often: within the bounds", () => {
    const { minTopIntervalMs: least, maxTopIntervalMs: most } = cliLimits;
    expect([`${least}ms`, `${most / 1000}s`, "2s"].map(readInterval)).toEqual([least, most, 2_000]);
    for (const text of [`${least - 1}ms`, `${most + 1}ms`, "2", "2m", "-2s", "1.5s", ""])
      expect(readInterval(text)).toBeNull();
  });
});
