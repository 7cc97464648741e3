import { describe, expect, test } from "bun:test";
import { readFile } from "node:fs/promises";
import { captureLimits } from "../base/limits/capture.ts";
import { configLimits } from "../base/limits/config.ts";
import { controlLimits } from "../base/limits/control.ts";
import { workerLimits } from "../base/limits/host.ts";
import { loadConfig, loadControlPlane } from "./load.ts";
import type { Config } from "./node/config.ts";
import type { SettingName } from "./settings.ts";
import type { ConfigSources } from "./sources.ts";

type Flags = Partial<Record<SettingName, readonly string[]>>;

function load(flags: Flags, environment: ConfigSources["environment"] = {}, yaml: string | null = null) {
  return loadConfig({
    flags: new Map(Object.entries({ mesh: ["mesh.yaml"], ...flags }) as [SettingName, readonly string[]][]),
    environment,
    file: yaml === null ? null : { path: "f.yaml", text: yaml },
  });
}

function good(flags: Flags, environment?: ConfigSources["environment"], yaml?: string): Config {
  const { config, errors } = load(flags, environment, yaml);
  expect(errors).toEqual([]);
  if (config === null) throw new Error("no config");
  return config;
}

function errorsOf(flags: Flags, environment?: ConfigSources["environment"], yaml?: string): string[] {
  return load(flags, environment, yaml).errors.map(({ where, message }) => `${where}: ${message}`);
}

describe("configuration", () => {
  test("several workers, and what is for one process", () => {
    expect([good({}).workers, good({ workers: ["4"] }).workers]).toEqual([1, 4]);
    const { maxWorkers } = workerLimits;
    expect(good({ workers: [`${maxWorkers}`] }).workers).toBe(maxWorkers);
    for (const count of ["0", `${maxWorkers + 1}`]) expect(errorsOf({ workers: [count] })).toHaveLength(1);
    const alone: Flags = { waypoints: ["shop/waypoint"], dnsSetup: ["auto"] };
    expect(errorsOf({ workers: ["2"], ...alone })).toEqual([
      "--workers: cannot be given with --waypoint: a waypoint is for one process",
      "--workers: cannot be given with --dns: the DNS proxy is for one process",
    ]);
    expect(errorsOf({ workers: ["2"], l7: ["shop/db"] })).toEqual([
      "--workers: cannot be given with --l7: HTTP inside the tunnel is for one process",
    ]);
    expect(errorsOf({ workers: ["1"], ...alone })).toEqual([]);
  });

  test("defaults are ztunnel's ports and times, and Istio's names", () => {
    const config = good({}, { HOME: "/h" });
    expect(config.ports).toEqual({ hbone: 15008, outbound: 15001, inboundPlaintext: 15006 });
    expect(config.admin?.ip.text).toBe("127.0.0.1");
    expect(config.admin?.port).toBe(15000);
    expect(config.readiness?.port).toBe(15021);
    expect(config.trustDomain).toBe("cluster.local");
    expect(config.clusterId).toBe("");
    expect(good({}, { CLUSTER_ID: "east" }).clusterId).toBe("east");
    expect(config.svidLifetimeMs).toBe(86_400_000);
    expect(config.drainDeadlineMs).toBe(5_000);
    expect(config.pool).toEqual({ maxStreamsPerConnection: 100, unusedMs: 300_000 });
    expect(config.h2).toEqual({
      streamWindowBytes: 4_194_304,
      connectionWindowBytes: 16_777_216,
      maxFrameBytes: 1_048_576,
    });
    expect(config.missingPolicy).toBe("deny");
    expect(config.workloads).toBeNull();
    expect(config.ca).toEqual({ kind: "local", stateDirectory: "/h/.local/state/fairlead" });
  });

  test("a flag wins over the environment, that over the file, that over the default", () => {
    const yaml = "nodeName: file\nnetwork: file\nclusterId: file\n";
    const config = good({ nodeName: ["flag"] }, { NODE_NAME: "env", NETWORK: "env" }, yaml);
    expect([config.nodeName, config.network, config.clusterId, config.rootNamespace]).toEqual([
      "flag",
      "env",
      "file",
      "istio-system",
    ]);
    expect(good({}, { NETWORK: "" }, yaml).network).toBe("file");
  });

  test("ztunnel's environment is understood in ztunnel's words", () => {
    const config = good(
      {},
      {
        ENABLE_ORIG_SRC: "true",
        LOG_FORMAT: "plain",
        PACKET_MARK: "0x539",
        SECRET_TTL: "1h",
        CONNECTION_TERMINATION_DEADLINE: "10s",
        ISTIO_META_CLUSTER_ID: "c2",
      },
    );
    expect(config.originalSource).toBe("on");
    expect(config.log.format).toBe("text");
    expect(config.capture.mark).toBe(1337);
    expect(config.svidLifetimeMs).toBe(3_600_000);
    expect(config.drainDeadlineMs).toBe(10_000);
    expect(config.clusterId).toBe("c2");
  });

  test("ways into the mesh", () => {
    const config = good({
      socks5: ["127.0.0.1:1080", "[::1]:1080@shop/frontend"],
      localPorts: ["localhost:8080=backend.shop:80@shop/frontend"],
      applications: ["127.0.1.2:80=127.0.0.1:9000"],
    });
    expect(config.socks5.map((entry) => [entry.listen.ip.text, entry.workload])).toEqual([
      ["127.0.0.1", null],
      ["::1", "shop/frontend"],
    ]);
    expect(config.localPorts[0]).toMatchObject({
      target: { host: "backend.shop", port: 80 },
      workload: "shop/frontend",
    });
    expect(config.applications[0]?.listens.port).toBe(9000);
  });

  test("every error is told at once, each with its place", () => {
    const yaml = "nodeNmae: x\nhbonePort: many\nnodeName: [a]\nsocks5: [{a: b}]\n";
    expect(errorsOf({ admin: ["here"] }, { HTTP2_FRAME_SIZE: "1" }, yaml)).toEqual([
      'f.yaml:1:1: unknown setting "nodeNmae"; did you mean "nodeName"?',
      "f.yaml:3:11: nodeName takes one value, not a list",
      "f.yaml:4:10: socks5 takes plain values, not a nested structure",
      'f.yaml:2:12: "many" is not a port (1 to 65535)',
      '--admin: "here" is not an IP address with a port, such as 127.0.0.1:15000 or [::1]:15000',
      'HTTP2_FRAME_SIZE: "1" is not a whole number from 16384 to 16777215',
    ]);
  });

  test("a file that is no map, is broken, repeats a key, or uses an alias is refused", () => {
    expect(errorsOf({}, {}, "- a\n")).toEqual([
      "f.yaml:1:1: is not a map of settings, such as `nodeName: edge-1`",
    ]);
    expect(errorsOf({}, {}, "a: [\n").join()).toStartWith("f.yaml:2:1: ");
    expect(errorsOf({}, {}, "network: a\nnetwork: b\n").join()).toContain(
      "f.yaml:2:1: Map keys must be unique",
    );
    expect(errorsOf({}, {}, "network: &a x\nnodeName: *a\n")).toEqual([
      "f.yaml:2:11: YAML aliases are not supported here",
    ]);
    expect(errorsOf({}, {}, "")).toEqual([]);
    expect(errorsOf({}, {}, "#".repeat(configLimits.maxFileBytes + 1)).join()).toContain("longer than");
  });

  test("words, durations and marks out of range are refused with what would be right", () => {
    expect(errorsOf({ capture: ["redirct"] })).toEqual([
      '--capture: "redirct" is not one of off, redirect, tproxy; did you mean redirect?',
    ]);
    expect(errorsOf({ svidLifetime: ["1s"] }).join()).toContain("out of range (1m to 90d)");
    expect(errorsOf({ svidLifetime: ["24"] }).join()).toContain("not a duration such as");
    expect(errorsOf({ captureMark: ["0"] }).join()).toContain("not a mark");
    expect(errorsOf({ trustDomain: ["Cluster.Local"] }).join()).toContain("not a trust domain");
    expect(errorsOf({ socks5: ["127.0.0.1:1@frontend"] }).join()).toContain(
      'for "frontend", which is not namespace/name',
    );
    expect(errorsOf({ localPorts: ["127.0.0.1:1=backend"] }).join()).toContain("not LISTEN=HOST:PORT");
  });

  test("a setting with one value given twice is an error, and lists are bounded", () => {
    expect(errorsOf({ network: ["a", "b"] })).toEqual(["--network: is given more than once"]);
    const many = Array.from({ length: configLimits.maxValues + 1 }, () => "10.0.0.0/8");
    expect(errorsOf({ captureExclude: many })).toEqual([
      `--capture-exclude: given ${configLimits.maxValues + 1} times; at most ${configLimits.maxValues}`,
    ]);
  });

  test("cgroups are paths below the root, and so many that a rule for each is bearable", () => {
    const { capture } = good({ captureCgroups: ["/mesh.slice/"], captureExcludeCgroups: ["a/b", "c"] });
    expect([capture.includeCgroups, capture.excludeCgroups]).toEqual([["mesh.slice"], ["a/b", "c"]]);
    for (const path of ["/", "a/../b", "/sys/fs/cgroup/mesh.slice"])
      expect(errorsOf({ captureCgroups: [path] }).join()).toMatch(
        /^--capture-cgroup: "\S+" is not .*below the root/,
      );
    const paths = Array.from({ length: captureLimits.maxCgroups }, (_, index) => `slice-${index}`);
    expect(errorsOf({ captureCgroups: paths, captureExcludeCgroups: paths })).toEqual([]);
    expect(errorsOf({ captureExcludeCgroups: [...paths, "one-more"] })).toEqual([
      `--capture-exclude-cgroup: names ${captureLimits.maxCgroups + 1} cgroups; at most ${captureLimits.maxCgroups} can be told apart`,
    ]);
  });

  test("a given CA is whole or an error, and is never mixed with the local one", () => {
    const files = { caCert: ["c"], caKey: ["k"], caRoot: ["r"] };
    expect(good(files).ca).toEqual({
      kind: "files",
      certificatePath: "c",
      keyPath: "k",
      chainPath: null,
      rootPath: "r",
    });
    expect(errorsOf({ caCert: ["c"] })).toEqual([
      "--ca-key: is missing: a CA in files needs --ca-cert, --ca-key and --ca-root",
      "--ca-root: is missing: a CA in files needs --ca-cert, --ca-key and --ca-root",
    ]);
    expect(errorsOf({ ...files, stateDirectory: ["d"] }).join()).toContain("cannot be given with --ca-cert");
  });

  test("a process is a waypoint, or has its application inside the tunnel of one workload", () => {
    expect(good({ l7: ["shop/web"] }).layer7).toBe("shop/web");
    expect(errorsOf({ l7: ["shop/web"], waypoints: ["shop/waypoint"] })).toEqual([
      "--l7: cannot be given with --waypoint: run the waypoint as a process of its own",
    ]);
  });

  test("two listeners on one address are found before the kernel finds them", () => {
    expect(errorsOf({ socks5: ["127.0.0.1:15000"] })).toEqual([
      "--socks5: 127.0.0.1:15000 is already taken by --admin",
    ]);
    expect(good({ admin: ["off"], socks5: ["127.0.0.1:15000"] }).admin).toBeNull();
    expect(errorsOf({ hbonePort: ["15001"] }).join()).toContain("must differ");
  });

  test("each bound holds, and the value next to it does not", () => {
    const edges: readonly (readonly [name: SettingName, good: readonly string[], bad: readonly string[]])[] =
      [
        ["svidLifetime", ["1m", "90d"], ["59s", "91d"]],
        ["drainDeadline", ["0s", "24h"], ["25h"]],
        ["poolUnused", ["1s", "24h"], ["999ms", "25h"]],
        ["streamWindow", ["65535", "2147483647"], ["65534", "2147483648"]],
        ["maxFrame", ["16384", "16777215"], ["16383", "16777216"]],
        ["poolStreams", ["1", "10000"], ["0", "10001"]],
        ["hbonePort", ["1", "65535"], ["0", "65536"]],
        ["captureMark", ["1", "0xffffffff"], ["0", "0x100000000"]],
      ];
    for (const [name, right, wrong] of edges) {
      for (const text of right) expect(errorsOf({ [name]: [text] })).toEqual([]);
      for (const text of wrong) expect(errorsOf({ [name]: [text] })).toHaveLength(1);
    }
  });

  test("capture on trial has a time within its bounds, something to try, and a socket to confirm at", () => {
    const tried = (confirm: string, more: Flags = {}) =>
      errorsOf({ capture: ["redirect"], captureConfirm: [confirm], ...more });
    const { minConfirmMs, maxConfirmMs } = captureLimits;
    for (const ms of [minConfirmMs, maxConfirmMs]) expect(tried(`${ms}ms`)).toEqual([]);
    for (const ms of [minConfirmMs - 1, maxConfirmMs + 1])
      expect(tried(`${ms}ms`).join()).toContain("--confirm: ");
    expect(tried("60s", { capture: ["off"] })).toEqual(["--confirm: needs --capture"]);
    expect(tried("60s", { adminSocket: ["off"] }).join()).toContain(
      "--confirm: cannot be given with --admin-socket off",
    );
    const asked = good({ capture: ["redirect"], captureConfirm: ["60s"] }, { HOME: "/h" });
    expect(asked.capture.confirm).toEqual({
      afterMs: 60_000,
      path: "/h/.local/state/fairlead/capture-confirmed",
    });
    expect(good({ capture: ["redirect"] }).capture.confirm).toBeNull();
  });

  test("the README's example of a file is a good one", async () => {
    const readme = await readFile(new URL("../../README.md", import.meta.url), "utf8");
    const example = /```yaml\n([^`]+)```/.exec(readme)?.[1] ?? "";
    const { config, errors } = loadConfig({
      flags: new Map(),
      environment: {},
      file: { path: "f.yaml", text: example },
    });
    expect(errors).toEqual([]);
    expect(config).toMatchObject({
      meshPaths: ["/etc/fairlead/mesh"],
      nodeName: "edge-1",
      capture: { mode: "redirect" },
    });
  });

  test("without documents there is nothing to do", () => {
    expect(errorsOf({ mesh: [] }).join()).toContain("--file: is missing");
  });

  test("a runtime told to trust anybody does not start", () => {
    expect(errorsOf({}, { NODE_TLS_REJECT_UNAUTHORIZED: "1" }).join()).toStartWith(
      "NODE_TLS_REJECT_UNAUTHORIZED: is set",
    );
  });

  test("the state directory follows systemd, then XDG, then home", () => {
    const directory = (environment: ConfigSources["environment"]) => good({}, environment).ca;
    expect(directory({ STATE_DIRECTORY: "/s:/t", HOME: "/h" })).toMatchObject({ stateDirectory: "/s" });
    expect(directory({ XDG_STATE_HOME: "/x", HOME: "/h" })).toMatchObject({ stateDirectory: "/x/fairlead" });
    expect(directory({})).toMatchObject({ stateDirectory: "/var/lib/fairlead" });
  });
});

describe("configuration of a control plane", () => {
  function loadPlane(
    flags: Flags,
    environment: ConfigSources["environment"] = {},
    yaml: string | null = null,
  ) {
    const { config, errors } = loadControlPlane({
      flags: new Map(Object.entries(flags) as [SettingName, readonly string[]][]),
      environment,
      file: yaml === null ? null : { path: "f.yaml", text: yaml },
    });
    return { config, errors: errors.map(({ where, message }) => `${where}: ${message}`) };
  }

  test("a host may be away for so long as an operator says, between an hour and ten years", () => {
    const { minHostRetentionMs, maxHostRetentionMs } = controlLimits;
    const away = (ms: number) => loadPlane({ hostRetention: [`${ms / 1000}s`] }, { HOME: "/h" });
    for (const ms of [minHostRetentionMs, maxHostRetentionMs])
      expect([ms, away(ms).errors]).toEqual([ms, []]);
    for (const ms of [minHostRetentionMs - 1_000, maxHostRetentionMs + 1_000])
      expect([ms, away(ms).errors.length]).toEqual([ms, 1]);
  });

  test("needs nothing: a CA of its own, in the state directory, at istiod's port", () => {
    const { config, errors } = loadPlane({}, { HOME: "/h" });
    expect(errors).toEqual([]);
    expect(config).toMatchObject({
      listen: { port: 15012 },
      stateDirectory: "/h/.local/state/fairlead",
      authority: { kind: "local" },
      meshPaths: [],
      servingNames: [],
      keyEncryptionKey: null,
    });
  });

  test("its CA is in one place", () => {
    const files = { caCert: ["c"], caKey: ["k"], caRoot: ["r"] };
    expect(loadPlane(files).config?.authority).toEqual({
      kind: "files",
      certificatePath: "c",
      keyPath: "k",
      chainPath: null,
      rootPath: "r",
    });
    expect(loadPlane({ caCert: ["c"] }).errors.map((text) => text.split(":")[0])).toEqual([
      "--ca-key",
      "--ca-root",
    ]);
    expect(loadPlane({ ...files, caPlace: ["vault-pki"] }).errors[0]).toContain(
      "cannot be given with --ca vault-pki",
    );
    const vault = { vault: ["https://v:8200"], vaultTokenFile: ["t"] };
    expect(loadPlane({ caPlace: ["vault-pki"], ...vault }).config?.authority).toMatchObject({
      kind: "vault-pki",
      mount: "pki",
      issuer: null,
      vault: { url: "https://v:8200", auth: { kind: "token", path: "t" } },
    });
    const role = {
      vault: ["https://v:8200"],
      vaultRoleId: ["r"],
      vaultSecretIdFile: ["s"],
      vaultMount: ["m"],
    };
    expect(loadPlane({ caPlace: ["vault-transit"], ...role }).config?.authority).toMatchObject({
      kind: "vault-transit",
      mount: "m",
      keyName: "fairlead",
      vault: { auth: { kind: "approle", mount: "approle", roleId: "r", secretIdPath: "s" } },
    });
    expect(loadPlane({ caPlace: ["vault-pki"] }).errors).toHaveLength(2);
    expect(loadPlane({ caPlace: ["vault-pki"], ...vault, ...role }).errors).toHaveLength(1);
    expect(loadPlane({ caPlace: ["vault-pki"], ...vault, vaultSecretIdFile: ["s"] }).errors).toHaveLength(1);
  });

  test("a file with another role's settings says so, and its environment is not looked at", () => {
    expect(loadPlane({}, {}, "socks5: [127.0.0.1:1]\n").errors).toEqual([
      "f.yaml:1:10: socks5 is not a setting of a control plane",
    ]);
    expect(errorsOf({}, {}, "controlListen: 127.0.0.1:1\n")).toEqual([
      "f.yaml:1:16: controlListen is not a setting of a node",
    ]);
    expect(loadPlane({}, { ENABLE_ORIG_SRC: "perhaps" }).errors).toEqual([]);
  });

  test("two listeners at one address are told apart", () => {
    expect(loadPlane({ controlListen: ["0.0.0.0:15020"] }).errors).toEqual([
      "--metrics: 0.0.0.0:15020 is already taken by --control-listen",
    ]);
  });
});

test("windows and times of just their bounds are taken, what is past them is refused", () => {
  const { maxWindowBytes, maxDurationMs } = configLimits;
  for (const name of ["streamWindow", "connectionWindow"] as const) {
    expect(errorsOf({ [name]: [String(maxWindowBytes)] })).toEqual([]);
    expect(errorsOf({ [name]: [String(maxWindowBytes + 1)] })).toEqual([
      expect.stringContaining(`to ${maxWindowBytes}`),
    ]);
  }
  for (const name of ["drainDeadline", "poolUnused"] as const) {
    expect(errorsOf({ [name]: [`${maxDurationMs / 1000}s`] })).toEqual([]);
    expect(errorsOf({ [name]: [`${maxDurationMs / 1000 + 1}s`] })).toEqual([
      expect.stringContaining("out of range"),
    ]);
  }
});
