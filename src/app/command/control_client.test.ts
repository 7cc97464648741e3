/** The whole of it for once: a control plane on a real host, our client, and curl. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { controlAdminLimits, controlHttpLimits } from "../../base/limits/control.ts";
import type { ControlClientConfig } from "../../config/control/client.ts";
import { loadControlPlane } from "../../config/load.ts";
import { createBunHost } from "../../host/bun/host.ts";
import { LogWriter } from "../../host/log_writer.ts";
import { testAuthority } from "../../host/testing/credentials.ts";
import { type RunningControl, startControl } from "../control/control.ts";
import { connectControl } from "./control_client.ts";

const host = createBunHost();
const directory = mkdtempSync(join(tmpdir(), "fairlead-control-"));
const identityPath = join(directory, "admin.pem");
const rootPath = join(directory, "root.pem");
const others = join(directory, "others.pem");
let control: RunningControl;
let server: ControlClientConfig["server"];

beforeAll(async () => {
  const flags = new Map([
    ["controlListen", ["0.0.0.0:0"]],
    ["servingNames", ["127.0.0.1"]],
    ["stateDirectory", [directory]],
  ] as const);
  const { config } = loadControlPlane({ flags, environment: {}, file: null });
  if (config === null) throw new Error("the settings are wrong");
  control = await startControl(host, config, new LogWriter(host.clock, () => true, "text", "error"));
  server = { host: "127.0.0.1", port: control.address.port };
  // Written as soon as there is a certificate.
  while (!(await host.files.exists(identityPath))) await Bun.sleep(5);
  writeFileSync(rootPath, control.parts.authority.bundle.value.rootsPem);
});

afterAll(async () => {
  await control.stop();
  rmSync(directory, { recursive: true });
});

function as(config: Partial<ControlClientConfig> = {}): ControlClientConfig {
  return { server, name: null, identityPath, rootPath: null, tokenPath: null, ...config };
}

const get = { method: "GET", path: "/v1/status", body: null, maxBytes: 100_000 } as const;

describe("administration of a real control plane", () => {
  test("the first administrator comes in with the certificate that was left for it", async () => {
    const connection = await connectControl(host, as());
    const { status, body } = await connection.request(get);
    expect(status).toBe(200);
    expect(JSON.parse(new TextDecoder().decode(body))).toMatchObject({
      ready: true,
      you: {
        name: "spiffe://cluster.local/ns/istio-system/sa/fairlead-admin",
        roles: [{ role: "mesh-admin", namespaces: null }],
      },
    });
    const long = await connection.request({ ...get, maxBytes: 10 }).catch((error) => error);
    expect(long.code).toBe("limit_reached");
    connection.close();
  });

  test("a server of another mesh is sent nothing", async () => {
    const { otherRoot } = await testAuthority();
    writeFileSync(others, otherRoot.pem);
    const refused = await connectControl(host, as({ rootPath: others })).catch((error) => error);
    expect([refused.code, refused.blame]).toEqual(["certificate_untrusted", "upstream"]);
    const named = await connectControl(host, as({ server: { ...server, host: "127.0.0.2" } })).catch(
      (error) => error,
    );
    expect(named.code).toStartWith("certificate_");
  });

  test("a file without a key, a certificate or a root says so before anything is dialled", async () => {
    for (const config of [as({ identityPath: rootPath }), as({ identityPath: null })]) {
      const error = await connectControl(host, config).catch((thrown) => thrown);
      expect([error.code, error.blame]).toEqual(["configuration", "local"]);
    }
    expect((await connectControl(host, as({ identityPath: `${directory}/none` })).catch((e) => e)).code).toBe(
      "io",
    );
  });

  test("a token that was never issued is refused", async () => {
    const tokenPath = join(directory, "token");
    writeFileSync(tokenPath, "a.b.c\n");
    const connection = await connectControl(host, as({ identityPath: null, rootPath, tokenPath }));
    expect((await connection.request(get)).status).toBe(401);
    connection.close();
  });
});

const curlVersion = spawnSync("curl", ["--version"]).stdout?.toString() ?? "";

describe.skipIf(!curlVersion.includes("HTTP2"))("curl", () => {
  function curl(...words: readonly string[]) {
    const url = `https://127.0.0.1:${server.port}`;
    return Bun.spawn(
      [
        "curl",
        "-sS",
        "--http2",
        "--max-time",
        "20",
        "--cacert",
        rootPath,
        ...words.map((word) => word.replace(/^\/v1\//, `${url}/v1/`)),
      ],
      { stdin: "ignore", stdout: "pipe", stderr: "pipe" },
    );
  }

  async function ask(...words: readonly string[]): Promise<string> {
    const run = curl(...words);
    return (await new Response(run.stdout).text()) + (await new Response(run.stderr).text());
  }

  const certificate = ["--cert", identityPath, "--key", identityPath];
  const told = ["-o", "/dev/null", "-w", "%{http_code} %{http_version}"];

  test("with a client certificate over HTTP/2: GET, HEAD, POST", async () => {
    expect(await ask(...certificate, "/v1/ca", ...told)).toBe("200 2");
    const head = await ask(...certificate, "--head", "/v1/ca");
    expect([head.split(" ")[1], head.endsWith("\r\n\r\n")]).toEqual(["200", true]);
    const body = JSON.stringify({
      documents: [{ path: "n.yaml", text: "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n" }],
    });
    const post = await ask(
      ...certificate,
      "-H",
      "content-type: application/json",
      "--data-binary",
      body,
      "/v1/apply",
    );
    expect(JSON.parse(post)).toMatchObject({
      applied: true,
      changes: [{ key: "Namespace shop", change: "added" }],
    });
    expect(control.parts.documents.get("Namespace shop")).not.toBeNull();
  });

  test("without one, with a wrong one, with HTTP/1.1", async () => {
    expect(await ask("/v1/ca", ...told)).toBe("401 2");
    const { certificateChainPem, privateKeyPem } = (await testAuthority()).foreign.credentials;
    const path = join(directory, "stranger.pem");
    writeFileSync(path, certificateChainPem + privateKeyPem);
    const stranger = ["--cert", path, "--key", path];
    expect(await ask(...stranger, "/v1/ca", ...told)).toBe("401 2");
    expect(await ask("--http1.1", "/v1/ca")).toContain("alert no application protocol");
  });

  test("a body past its bound: 413 to those who may, 401 to a stranger before it is sent", async () => {
    const path = join(directory, "large");
    writeFileSync(path, new Uint8Array(controlAdminLimits.maxApplyBytes + 1));
    const upload = ["-H", "content-type: application/json", "--data-binary", `@${path}`, "/v1/apply"];
    expect(await ask(...certificate, ...upload, ...told)).toBe("413 2");
    const [status, bytes] = (
      await ask(...upload, "-o", "/dev/null", "-w", "%{http_code} %{size_upload}")
    ).split(" ");
    expect(status).toBe("401");
    expect(Number(bytes)).toBeLessThan(controlHttpLimits.maxDiscardedBytes + 8 * 1024 * 1024);
  });
});
