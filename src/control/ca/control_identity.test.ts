import { expect, test } from "bun:test";
import { IpAddress } from "../../base/ip.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import type { GrpcService } from "../../wire/grpc/server.ts";
import { istioCertificate } from "../../wire/grpc/services.ts";
import type { CallPeer, UnaryCall } from "../identity/call_credentials.ts";
import { ControlBench, id, shownBy } from "./testing/control_bench.ts";

function peerOf(chain: readonly Uint8Array[]): CallPeer {
  const ip = IpAddress.parse("192.0.2.1");
  if (ip === null) throw new Error("no address");
  return { chain, remote: { ip, port: 1 } };
}

test("a workload acts as itself, as long as the host through which it got its SVID is registered", async () => {
  const bench = await ControlBench.start();
  const edge = await bench.joined("edge-1");
  bench.workloads.set("shop/cart", { identity: id("shop/cart"), node: "edge-1" });
  bench.workloads.set("shop/db", { identity: id("shop/db"), node: "edge-2" });
  bench.version++;
  const { csr } = await bench.csr();
  const { answer } = await bench.create(edge, { csr, impersonate: id("shop/cart").uri });
  const { chain = [] } = shownBy(answer?.certChain ?? []);
  const { authenticator, mayActAs, mayActAsWorkload } = bench.identity;
  const caller = await authenticator.authenticate({ ...peerOf(chain), authorization: null });
  const answers = () => [
    mayActAs(caller, id("shop/cart")),
    mayActAs(caller, id("shop/db")),
    mayActAsWorkload(caller, "shop/cart"),
    mayActAsWorkload(caller, "shop/db"),
    mayActAsWorkload(caller, "shop/none"),
  ];
  expect(answers()).toEqual([true, false, true, false, false]);
  // Its document has moved it: the host speaks for it no more.
  bench.workloads.set("shop/cart", { identity: id("shop/cart"), node: "edge-2" });
  bench.version++;
  expect(answers()).toEqual([false, false, false, false, false]);
  bench.workloads.set("shop/cart", { identity: id("shop/cart"), node: "edge-1" });
  bench.version++;
  bench.state.registrationRows.delete("edge-1");
  expect(answers()).toEqual([false, false, false, false, false]);
});

test("for a caller that has left nothing is signed, and the audit log says so", async () => {
  const bench = await ControlBench.start();
  const handlers = new Map<unknown, (request: unknown, call: UnaryCall) => Promise<unknown>>();
  const service = {
    unary(method: unknown, handler: (request: unknown, call: UnaryCall) => Promise<unknown>) {
      handlers.set(method, handler);
      return service;
    },
  };
  bench.identity.register(service as unknown as GrpcService<CallPeer>);
  const create = handlers.get(istioCertificate.createCertificate);
  const { csr } = await bench.csr();
  const metadata = ["authorization", `Bearer ${await bench.token()}`];
  const request = { csr, validityDuration: 0n, metadata: {} };
  const call = { peer: peerOf([]), metadata, cancelled: AbortSignal.abort() };
  await rejectionOf(Promise.resolve(create?.(request, call)));
  expect([bench.authority.issued.length, bench.refusals.at(-1)]).toEqual([
    0,
    "certificate.create cancelled: the caller has left",
  ]);
  await create?.(request, { ...call, cancelled: new AbortController().signal });
  expect(bench.authority.issued.map(({ uri }) => uri)).toEqual([id("shop/cart").uri]);
});
