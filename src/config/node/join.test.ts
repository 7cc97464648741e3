import { describe, expect, test } from "bun:test";
import { loadConfig } from "../load.ts";
import type { SettingName } from "../settings.ts";

type Flags = Partial<Record<SettingName, string>>;
type Environment = Readonly<Record<string, string>>;

const token = `fjt_${"a".repeat(16)}_${"b".repeat(64)}`;
const pin = `sha256:${"0a".repeat(32)}`;
const joining: Flags = { control: "https://control.example:15012", joinToken: token, caPin: pin };

function load(flags: Flags, environment: Environment = {}) {
  return loadConfig({
    flags: new Map(Object.entries(flags).map(([name, text]) => [name as SettingName, [text]])),
    environment: { HOME: "/h", ...environment },
    file: null,
  });
}

function good(flags: Flags, environment?: Environment) {
  const { config, errors } = load(flags, environment);
  expect(errors).toEqual([]);
  if (config?.control == null) throw new Error("no control plane");
  return { ...config, control: config.control };
}

function errorsOf(flags: Flags, environment?: Environment): string[] {
  return load(flags, environment).errors.map(({ where, message }) => `${where}: ${message}`);
}

describe("a control plane in the configuration", () => {
  test("a mesh without clusters has none; a real istiod's is called Kubernetes, as it calls itself", () => {
    expect(good(joining).clusterId).toBe("Kubernetes");
    expect(good({ ...joining, clusterId: "east" }).clusterId).toBe("east");
  });

  test("the join line is enough", () => {
    const { control, ca, meshPaths } = good(joining);
    expect([ca, meshPaths]).toEqual([{ kind: "control" }, []]);
    expect(control).toMatchObject({
      xds: { address: { host: "control.example", port: 15012 }, name: null, root: null },
      ca: { address: { host: "control.example", port: 15012 } },
      pin: "0a".repeat(32),
      stateDirectory: "/h/.local/state/fairlead",
    });
    expect(control.joinToken?.reveal()).toBe(token);
  });

  test("ztunnel's environment is enough", () => {
    const { control } = good(
      {},
      {
        XDS_ADDRESS: "https://istiod.istio-system.svc:15012",
        CA_ADDRESS: "https://ca.example",
        XDS_ROOT_CA: "/root.pem",
        CA_ROOT_CA: "-----BEGIN CERTIFICATE-----\nx",
        ALT_XDS_HOSTNAME: "istiod.example",
        AUTH_TOKEN: "/var/run/token",
        POD_NAME: "db",
        POD_NAMESPACE: "shop",
        INSTANCE_IP: "10.0.0.2",
        ISTIO_META_DNS_CAPTURE: "true",
        ISTIO_METAJSON_LABELS: '{"app":"db"}',
        XDS_HEADER_X_Tenant: "one",
        CA_HEADER_x: "two",
      },
    );
    expect(control.xds).toEqual({
      address: { host: "istiod.istio-system.svc", port: 15012 },
      name: "istiod.example",
      root: { kind: "file", path: "/root.pem" },
      headers: { x_tenant: "one" },
    });
    expect(control.ca).toMatchObject({
      address: { host: "ca.example", port: 15012 },
      name: null,
      root: { kind: "pem" },
      headers: { x: "two" },
    });
    expect(control.token).toEqual({ kind: "file", path: "/var/run/token" });
    expect(control.node).toEqual({
      podName: "db",
      podNamespace: "shop",
      instanceIp: "10.0.0.2",
      metadata: { DNS_CAPTURE: "true", LABELS: { app: "db" } },
    });
  });

  test("a token that is in AUTH_TOKEN itself is taken, and no dump shows either kind", () => {
    const jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl";
    const config = good({ control: "https://c", controlRoot: "/r.pem" }, { AUTH_TOKEN: jwt });
    expect(config.control.token?.kind).toBe("literal");
    expect(`${JSON.stringify(config)}${JSON.stringify(good(joining))}`).not.toMatch(/eyJ|fjt_/);
    expect(`${good(joining).control.joinToken}`).toBe("(hidden)");
  });

  test("documents and a control plane exclude each other, and so do the two kinds of token", () => {
    expect(errorsOf({ ...joining, mesh: "mesh/" })).toEqual([
      "--file: cannot be given with --control: the mesh comes from documents or from a control plane, not from both",
    ]);
    expect(errorsOf({ ...joining, tokenFile: "/t", controlRoot: "/r" })[0]).toContain(
      "cannot be given with --token-file",
    );
  });

  test("nothing is shown to a server that is not known first", () => {
    const { caPin, ...unpinned } = joining;
    expect(errorsOf(unpinned)[0]).toContain("--join-token: needs --ca-pin");
    expect(errorsOf({ control: "https://c", tokenFile: "/t" })[0]).toContain("needs --control-root");
    expect(errorsOf({ ...joining, caAddress: "https://other" })[0]).toContain("--ca-address");
    expect(errorsOf({ mesh: "m", caPin: caPin ?? "" })[0]).toContain("needs --control");
  });

  test.each([
    ["control", "http://c:15012", "https alone"],
    ["control", "https://c:0", "not https://HOST:PORT"],
    ["control", "https://user@c", "not https://HOST:PORT"],
    ["control", "https://c/path", "not https://HOST:PORT"],
    ["control", "https://1.2.3", "not https://HOST:PORT"],
    ["joinToken", token.slice(0, 30), "not a whole join token"],
    ["caPin", pin.slice(0, -1), "not a pin"],
    ["controlRoot", "SYSTEM", "any web site"],
    ["joinAddresses", "10.0.0", "not an IP address"],
    ["joinLabels", "app", "not KEY=VALUE"],
  ] as const)("--%s %s is refused", (name, text, reason) => {
    expect(errorsOf({ ...joining, [name]: text }).join("\n")).toContain(reason);
  });

  test("IPv6 addresses, and hosts without a port", () => {
    const addressOf = (control: string) => good({ ...joining, control }).control.xds.address;
    expect(addressOf("https://[fd00::1]:15013")).toEqual({ host: "fd00::1", port: 15013 });
    expect(addressOf("https://[fd00::1]")).toEqual({ host: "fd00::1", port: 15012 });
    expect(addressOf("10.0.0.1:1")).toEqual({ host: "10.0.0.1", port: 1 });
  });

  test("metadata that is not JSON says so", () => {
    expect(errorsOf(joining, { ISTIO_METAJSON_X: "{" })).toEqual(["ISTIO_METAJSON_X: is not JSON"]);
  });
});
