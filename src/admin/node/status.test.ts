import { describe, expect, test } from "bun:test";
import { MetricRegistry } from "../../base/metrics.ts";
import type { AdminSources, ControlEntry, DocumentsEntry } from "./sources.ts";
import { describeNode } from "./status.ts";

const location = { file: "mesh.yaml", line: 3, column: 5 };
const fault = { location, message: "is wrong" };
const documents = {
  documents: [
    { resource: "Namespace shop", location, accepted: true, warnings: [], error: null },
    { resource: "ServiceEntry shop/db", location, accepted: true, warnings: [], error: null },
    { resource: "AuthorizationPolicy shop/a", location, accepted: false, warnings: [], error: fault },
  ],
  errors: [fault],
} as unknown as DocumentsEntry;

const stream = { connected: true, current: false, error: "it went away" };
const control = { server: "10.0.0.10:15012", node: null, xds: stream } as unknown as ControlEntry;

function described(changes: Partial<AdminSources>) {
  return describeNode({
    pending: () => [],
    localWorkloads: () => [
      { uid: "w", name: "cart", namespace: "shop", trustDomain: "cluster.local", serviceAccount: "sa" },
    ],
    version: () => ({ version: "1.2.3", runtime: "bun" }),
    certificates: () => [
      {
        identity: "spiffe://a",
        state: "available",
        error: null,
        chain: [
          { pem: "P", serialNumber: "ff", notBeforeMs: 0, notAfterMs: 86_400_000 },
          { pem: "Q", serialNumber: "fe", notBeforeMs: 0, notAfterMs: 1 },
        ],
        roots: [],
      },
      { identity: "spiffe://b", state: "unavailable", error: "no signer", chain: [], roots: [] },
    ],
    openConnections: () => 0,
    documents: () => documents,
    control: () => null,
    logLevel: () => "warn",
    metrics: new MetricRegistry(),
    ...changes,
  } as unknown as AdminSources);
}

describe("how a node is", () => {
  test("each fact has its own", () => {
    expect(described({ openConnections: () => 5 })).toEqual({
      version: "1.2.3",
      ready: true,
      pending: [],
      workloads: ["shop/cart"],
      connections: 5,
      certificates: [
        { identity: "spiffe://a", state: "available", error: null, expires: "1970-01-02T00:00:00.000Z" },
        { identity: "spiffe://b", state: "unavailable", error: "no signer", expires: null },
      ],
      documents: { accepted: 2, refused: 2 },
      control: null,
      logLevel: "warn",
    });
  });

  test("it is not ready while it waits, and says for what", () => {
    const { ready, pending } = described({ pending: () => ["mesh"] });
    expect([ready, pending]).toEqual([false, ["mesh"]]);
  });

  test("its control plane: the stream, and why it is none", () => {
    const server = "10.0.0.10:15012";
    expect(described({ control: () => control }).control).toEqual({
      server,
      connected: true,
      current: false,
      error: "it went away",
    });
    const unjoined = { ...control, xds: null, node: { error: "no renewal" } } as unknown as ControlEntry;
    expect(described({ control: () => unjoined }).control).toEqual({
      server,
      connected: false,
      current: false,
      error: "no renewal",
    });
  });
});
