/** The process of the workloads' proxies: each asks for a certificate, and when it has it for the next. */
import { silentLogger } from "../../src/base/log.ts";
import { createBunHost } from "../../src/host/bun/host.ts";
import { SpiffeId } from "../../src/mesh/identity.ts";
import { runtimeProvider } from "../../src/pki/crypto/provider.ts";
import { createCertificateRequest } from "../../src/pki/x509/csr.ts";
import { RpcChannel } from "../../src/transport/rpc/channel.ts";
import { istioCertificate } from "../../src/wire/grpc/services.ts";
import type { CallersAnswer, CallersCommand } from "./words.ts";

const host = createBunHost();
const id = new SpiffeId("cluster.local", "shop", "app");
/** Made beforehand: a request costs its maker more than its signer. */
const requests = await Promise.all(
  Array.from({ length: 32 }, async () => (await createCertificateRequest(runtimeProvider(), id)).csrPem),
);

process.on("message", (command: CallersCommand) => {
  void call(command).then(answer);
});
answer({ kind: "ready" });

async function call({ port, rootsPem, tokens, count, atOnce }: CallersCommand): Promise<CallersAnswer> {
  const channel = new RpcChannel({
    host,
    logger: silentLogger,
    target: { host: "127.0.0.1", port },
    tls: () => ({
      credentials: { certificateChainPem: "", privateKeyPem: "", trustedRootsPem: rootsPem },
      serverName: "localhost",
      verify: async () => {},
    }),
  });
  const latenciesMs: number[] = [];
  const one = async (index: number, caller: number): Promise<void> => {
    const startedMs = performance.now();
    const { certChain } = await channel.unary(
      istioCertificate.createCertificate,
      {
        $typeName: "istio.v1.auth.IstioCertificateRequest",
        csr: requests[index % requests.length] ?? "",
        validityDuration: 0n,
      },
      { metadata: ["authorization", `Bearer ${tokens[caller % tokens.length]}`] },
    );
    if (certChain.length < 2) throw new Error("an answer without a chain");
    latenciesMs.push(performance.now() - startedMs);
  };
  const startedMs = performance.now();
  let next = 0;
  const caller = async (_: unknown, index: number): Promise<void> => {
    while (next < count) await one(next++, index);
  };
  await Promise.all(Array.from({ length: atOnce }, caller));
  const tookMs = performance.now() - startedMs;
  channel.close();
  return { kind: "called", latenciesMs: latenciesMs.sort((a, b) => a - b), tookMs };
}

function answer(message: CallersAnswer): void {
  process.send?.(message);
}
