/** Who signs for a node, when the files of its CA are replaced while it runs. */
import { expect, test } from "bun:test";
import type { Files } from "../../host/host.ts";
import { LogWriter } from "../../host/log_writer.ts";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { encodePem } from "../../pki/der/pem.ts";
import { istioFiles } from "../../pki/issue/ca_files.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { Forge, type Forged } from "../../pki/testing/forge.ts";
import { MemoryFiles } from "../../pki/testing/memory_files.ts";
import { observed } from "../../pki/testing/providers.ts";
import { openSigner, type Signing } from "./signer.ts";

const nowMs = Date.parse("2026-11-22T12:00:00.500Z");
const { provider, isBusy } = observed(runtimeProvider());
const paths = {
  certificatePath: `ca/${istioFiles.certificate}`,
  keyPath: `ca/${istioFiles.privateKey}`,
  rootPath: `ca/${istioFiles.root}`,
  chainPath: null,
};

async function put(files: MemoryFiles, ca: Forged): Promise<void> {
  const pkcs8 = new Uint8Array(await provider.crypto.subtle.exportKey("pkcs8", ca.keys.privateKey));
  files.put(paths.certificatePath, ca.pem);
  files.put(paths.rootPath, ca.pem);
  files.put(paths.keyPath, encodePem("PRIVATE KEY", pkcs8));
}

for (const [where, ca] of [
  ["given as files", { kind: "files", ...paths }],
  ["in Istio's layout in the state directory", { kind: "local", stateDirectory: "ca" }],
] as const)
  test(`a CA ${where} is followed: the new root is told, until the node ends`, async () => {
    const forge = new Forge(provider, nowMs);
    const [one, two, three] = [
      await forge.ca({ subject: "CN=one" }),
      await forge.ca({ subject: "CN=two" }),
      await forge.ca({ subject: "CN=three" }),
    ];
    const files = new MemoryFiles();
    await put(files, one);
    const clock = new FakeClock(nowMs, isBusy);
    const logger = new LogWriter(clock, () => true, "text", "error");
    const options = { clock, provider, trustDomain: "cluster.local" };
    const signing: Signing = await openSigner(files as Files, ca, null, options, logger);
    const told: string[] = [];
    signing.onReplaced(({ certificate }) => void told.push(certificate.subjectText));
    expect([signing.rootsPem, signing.created]).toEqual([one.pem, false]);
    await put(files, two);
    await clock.advance(10);
    expect(told).toEqual(["CN=two"]);
    signing.close();
    await put(files, three);
    await clock.advance(10);
    expect(told).toEqual(["CN=two"]);
  });
