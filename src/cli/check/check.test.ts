/** Each finding provoked on a host and a node that a few texts stand for; conformance/vm provokes them on real ones. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { MeshError } from "../../base/errors.ts";
import { formatSocketAddress } from "../../base/ip.ts";
import type { CliBindings } from "../bindings.ts";
import { plain } from "../style.ts";
import { type CheckFlags, check } from "./check.ts";
import { type Code, codes, pageOf } from "./codes.ts";

const now = Date.UTC(2026, 10, 29, 12);
const at = (hours: number): string => `${new Date(now + hours * 3_600_000).toISOString().slice(0, 19)}Z`;
const certificate = {
  identity: "spiffe://cluster.local/ns/shop/sa/cart",
  state: "Available",
  certChain: [{ validFrom: at(-12), expirationTime: at(12) }],
};
const workload = {
  namespace: "shop",
  name: "cart",
  trustDomain: "cluster.local",
  serviceAccount: "cart",
  protocol: "HBONE",
  workloadIps: ["10.0.0.1"],
};
const goodDump = {
  config: { readiness: { ip: "0.0.0.0", port: 15021 }, ports: { hbone: 15008 } },
  certificates: [certificate],
  workloads: [workload],
  policies: [],
  services: [{ namespace: "shop", hostname: "db.shop", endpoints: { a: {} } }],
};

interface Shape {
  readonly files?: Readonly<Record<string, string | null>>;
  readonly uid?: number;
  readonly nowMs?: number;
  readonly resolver?: boolean;
  readonly capture?: "none" | "in force" | "incomplete" | "left behind";
  readonly findings?: readonly { readonly message: string; readonly remedy: string }[];
  readonly names?: "off" | "resolv-conf";
  /** Null: no node answers. */
  readonly node?: Readonly<Record<string, unknown>> | null;
  readonly documents?: unknown;
  readonly control?: unknown;
  readonly ready?: string;
  readonly verdict?: string;
  readonly unreachable?: readonly string[];
}

async function run(shape: Shape = {}, flags: CheckFlags = {}) {
  const files = new Map<string, string>(
    Object.entries({
      "/proc/sys/kernel/osrelease": "6.1.0\n",
      "/usr/sbin/nft": "",
      "/proc/self/status": "CapEff:\t0000000000000000\n",
      "/proc/self/limits": "Max open files            1048576              1048576              files\n",
      "/proc/self/mounts": "/dev/sda / ext4 rw,relatime 0 0\n",
      ...shape.files,
    }).flatMap(([path, text]) => (text === null ? [] : [[path, text]])),
  );
  let out = "";
  const dump = shape.node === null ? null : { ...goodDump, ...shape.node };
  const answers: Readonly<Record<string, unknown>> = {
    "/config_dump": dump,
    "/documents": shape.documents ?? { documents: [], errors: [] },
    "/control": { control: shape.control === undefined ? [] : [shape.control] },
  };
  const bindings = {
    terminal: {
      isTerminal: false,
      out: (text: string) => {
        out += text;
      },
      error: () => {},
    },
    askAdmin: async (_: unknown, __: string, path: string) => {
      if (dump === null) throw new MeshError("connect_refused", "upstream", "nothing answers");
      if (path === "/healthz/ready")
        return shape.ready === undefined
          ? { status: 200, text: "ready\n" }
          : { status: 500, text: shape.ready };
      if (path.startsWith("/explain"))
        return { status: 200, text: JSON.stringify({ verdict: shape.verdict ?? "denied" }) };
      return { status: 200, text: JSON.stringify(answers[path]) };
    },
    capture: {
      status: async () => ({
        state: shape.capture ?? "none",
        backends: [],
        ports: [],
        findings: shape.findings ?? [],
      }),
      missingCgroups: async (paths: readonly string[]) => paths.filter((path) => path !== "mesh.slice"),
      remove: async () => {},
    },
    names: { isSet: async () => shape.names ?? "off", remove: async () => false },
    system: {
      uid: shape.uid ?? 0,
      nowMs: () => shape.nowMs ?? now,
      exists: async (path: string) => files.has(path),
      readText: async (path: string) => files.get(path) ?? "",
      connects: async (address: Parameters<typeof formatSocketAddress>[0], _: number, mark: number | null) =>
        mark === 7 ? null : shape.unreachable?.includes(formatSocketAddress(address)) !== true,
      resolvers: async () => [{ server: "10.0.0.53", answers: shape.resolver ?? true }],
    },
  } as unknown as CliBindings;
  const code = await check(bindings, plain, { json: true, ...flags }, { sockets: [], address: null });
  const report = flags.json === false ? null : JSON.parse(out);
  return {
    code,
    out,
    report,
    found: (report?.findings ?? []).map((finding: { code: string }) => finding.code) as readonly string[],
  };
}

test("a host and a node that are well have no finding", async () => {
  expect(await run()).toMatchObject({ code: 0, found: [], report: { errors: 0, warnings: 0 } });
  expect(await run({ node: null }, { pre: true })).toMatchObject({ code: 0, found: [] });
});

const listening = (port: number): string =>
  `  sl  local_address rem_address   st\n   0: 00000000:${port.toString(16).toUpperCase().padStart(4, "0")} 00000000:0000 0A 0:0\n`;

const host: Readonly<Record<string, Shape>> = {
  FL101: { files: { "/proc/sys/kernel/osrelease": "4.17.19\n" } },
  FL102: { files: { "/usr/sbin/nft": null } },
  FL103: { uid: 1000 },
  FL104: { files: { "/proc/net/tcp": listening(15008) } },
  FL105: { nowMs: Date.UTC(2020, 0, 1) },
  FL106: { resolver: false },
  FL107: { capture: "left behind" },
  FL108: { names: "resolv-conf" },
  FL109: {
    files: {
      "/proc/self/limits": "Max open files            1024                 1048576              files\n",
    },
  },
  FL110: { files: { "/proc/self/mounts": "/dev/sda / ext4 rw 0 0\nx /etc ext4 ro,relatime 0 0\n" } },
  FL111: { files: { "/etc/systemd/system/fairlead.service": "" } },
  FL112: { findings: [{ message: "it drops", remedy: "nft add …" }] },
};

describe("before installation", () => {
  for (const [code, shape] of Object.entries(host))
    test(`${code} is found, alone`, async () => {
      const { found, code: exit } = await run({ node: null, ...shape }, { pre: true });
      expect(found).toEqual([code]);
      expect(exit).toBe(codes[code as Code].severity === "error" ? 1 : 0);
    });

  test("its own ports and rules are as they should be while a node runs", async () => {
    const { found } = await run({
      files: { "/proc/net/tcp": listening(15008) },
      capture: "in force",
      names: "resolv-conf",
    });
    expect(found).toEqual([]);
  });

  test("capabilities do for root", async () => {
    const files = { "/proc/self/status": "CapEff:\t0000000000001000\n" };
    expect((await run({ node: null, uid: 1000, files }, { pre: true })).found).toEqual([]);
  });
});

const entry = { server: "c:15012", xds: { connected: true, current: true }, node: null, clockSkewMs: null };
const node: Readonly<Record<string, Shape>> = {
  FL211: {
    node: {
      config: {
        ...goodDump.config,
        capture: {
          mode: "redirect",
          mark: 1,
          includeCgroups: ["mesh.slice"],
          excludeCgroups: ["gone.slice"],
        },
      },
    },
  },
  FL105: { control: { ...entry, clockSkewMs: -3_600_000 } },
  FL202: { ready: "not ready, pending: mesh from the control plane\n" },
  FL203: {
    node: { certificates: [{ ...certificate, state: "Unavailable: the CA is away", certChain: [] }] },
  },
  FL204: {
    node: { certificates: [{ ...certificate, certChain: [{ validFrom: at(-23), expirationTime: at(1) }] }] },
  },
  FL205: {
    documents: {
      documents: [
        {
          resource: "AuthorizationPolicy a/b",
          accepted: false,
          location: { file: "f", line: 1 },
          error: { message: "wrong" },
          warnings: [],
        },
      ],
      errors: [],
    },
  },
  FL206: {
    documents: {
      documents: [
        {
          resource: "AuthorizationPolicy a/b",
          accepted: true,
          warnings: [{ location: { file: "f", line: 1 }, message: "its selector selects no workload" }],
        },
      ],
      errors: [],
    },
  },
  FL207: { control: { ...entry, xds: { connected: false, error: "refused" } } },
  FL208: { control: { ...entry, xds: { connected: true, current: false } } },
  FL209: { unreachable: ["10.0.0.1:15008"] },
  FL301: { verdict: "allowed" },
  FL302: { node: { policies: [{ namespace: "shop", name: "all", action: "Allow", rules: [[]] }] } },
  FL303: { node: { services: [{ namespace: "shop", hostname: "db.shop", endpoints: {} }] } },
};

describe("of a node", () => {
  for (const [code, shape] of Object.entries(node))
    test(`${code} is found, alone`, async () => {
      const { found, code: exit } = await run(shape);
      expect(found).toEqual([code]);
      expect(exit).toBe(codes[code as Code].severity === "error" ? 1 : 0);
    });

  test("FL210 comes with the readiness that waits for it", async () =>
    expect((await run({ ready: "not ready, pending: capture rules\n" })).found).toEqual(["FL202", "FL210"]));

  test("who may not go past capture does not judge what is behind it", async () => {
    const config = { ...goodDump.config, capture: { mode: "redirect", mark: 7 } };
    expect((await run({ node: { config }, unreachable: ["10.0.0.1:15008"] })).found).toEqual([]);
  });

  test("FL201: none answers", async () => expect((await run({ node: null })).found).toEqual(["FL201"]));

  test("a certificate of tomorrow means a clock of yesterday", async () => {
    const certificates = [{ ...certificate, certChain: [{ validFrom: at(1), expirationTime: at(25) }] }];
    expect((await run({ node: { certificates } })).found).toEqual(["FL105"]);
  });

  test("a rule that names a source in one of its clauses is no wildcard", async () => {
    const rules = [[[{ destinationPorts: [80] }], [{ principals: [{ Exact: "a" }] }]]];
    expect(
      (await run({ node: { policies: [{ namespace: "shop", name: "p", action: "Allow", rules }] } })).found,
    ).toEqual([]);
    const wide = [[[{ destinationPorts: [80] }]]];
    expect(
      (await run({ node: { policies: [{ namespace: "shop", name: "p", action: "Allow", rules: wide }] } }))
        .found,
    ).toEqual(["FL302"]);
  });

  test("of very many of one kind the first are told, and the others counted", async () => {
    const services = Array.from({ length: 25 }, (_, index) => ({
      namespace: "shop",
      hostname: `s${index}`,
      endpoints: {},
    }));
    const { report } = await run({ node: { services } });
    expect([report.findings.length, report.findings[20].detail]).toEqual([21, "and 5 more of this kind"]);
  });
});

test("with --strict a warning is an error to a pipeline", async () => {
  expect((await run({ resolver: false })).code).toBe(0);
  expect((await run({ resolver: false }, { strict: true })).code).toBe(1);
});

test("a person reads the code, what is so, what it means and the command", async () => {
  const { out } = await run({ capture: "left behind", node: null }, { pre: true, json: false });
  expect(out).toBe(
    "FL107 error: Capture rules are loaded and no node is behind them\n  the rules are left behind\n  Captured connections of this host are refused, as after a kill.\n  fix: fairlead capture remove\nnot well: 1 error, 0 warnings\n",
  );
});

test("every code is provoked above, and has its page, which says what the program says", () => {
  const folder = join(import.meta.dir, "..", "..", "..", "docs", "check");
  const all = Object.keys(codes) as Code[];
  expect(
    all.filter((code) => !(code in host) && !(code in node) && code !== "FL201" && code !== "FL210"),
  ).toEqual([]);
  expect(readdirSync(folder).sort()).toEqual([...all.map((code) => `${code}.md`), "README.md"].sort());
  for (const code of all) expect(readFileSync(join(folder, `${code}.md`), "utf8")).toBe(pageOf(code));
  const index = readFileSync(join(folder, "README.md"), "utf8");
  for (const code of all)
    expect(index).toContain(`| [${code}](${code}.md) | ${codes[code].severity} | ${codes[code].title} |`);
});
