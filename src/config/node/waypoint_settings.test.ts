import { expect, test } from "bun:test";
import { loadConfig } from "../load.ts";
import type { SettingName } from "../settings.ts";

type Flags = Partial<Record<SettingName, readonly string[]>>;

function load(flags: Flags) {
  const all = { mesh: ["mesh.yaml"], ...flags };
  return loadConfig({
    flags: new Map(Object.entries(all) as [SettingName, readonly string[]][]),
    environment: {},
    file: null,
  });
}

const collectors = (url: string): Flags => ({
  waypointTraces: [url],
  waypointLogs: [url],
  waypointMetrics: [url],
});

function urlsOf(flags: Flags): readonly (string | undefined)[] {
  const { config, errors } = load(flags);
  expect(errors).toEqual([]);
  const { traces, logs, metrics } = config?.waypointSettings ?? {};
  return [traces?.url, logs?.url, metrics?.url];
}

test("OTLP/HTTP: a base address gets the path of its signal, another keeps its own", () => {
  expect(urlsOf(collectors("http://c.example:4318"))).toEqual([
    ...["http://c.example:4318/v1/traces", "http://c.example:4318/v1/logs"],
    "http://c.example:4318/v1/metrics",
  ]);
  const own = "https://c.example/otlp";
  expect(urlsOf({ ...collectors(own), waypointOtlpProtocol: ["http/json"] })).toEqual([own, own, own]);
});

test("OTLP/gRPC has no path, and says so", () => {
  const grpc = { waypointOtlpProtocol: ["grpc"] };
  const url = "http://c.example:4317/";
  expect(urlsOf({ ...collectors("http://c.example:4317"), ...grpc })).toEqual([url, url, url]);
  for (const path of ["/v1/traces", "/?a=b"])
    expect(load({ waypointTraces: [`https://c.example:4317${path}`], ...grpc }).errors).toEqual([
      {
        where: "--waypoint-traces",
        message: "has a path, which gRPC has no use for: https://c.example:4317",
      },
    ]);
});

test("the protocol is one of the words of OTEL_EXPORTER_OTLP_PROTOCOL", () => {
  expect(load({}).config?.waypointSettings.otlp.protocol).toBe("http/protobuf");
  for (const word of ["grpc", "http/protobuf", "http/json"])
    expect(load({ waypointOtlpProtocol: [word] }).errors).toEqual([]);
  expect(load({ waypointOtlpProtocol: ["http"] }).errors.length).toBe(1);
});
