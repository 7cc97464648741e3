import { beforeAll, describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { joinLimits } from "../../base/limits/agent.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { outcomeOf, rejectionOf } from "../../base/testing/rejection.ts";
import { nodeNamespace, SpiffeId } from "../../mesh/identity.ts";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { decodePemLabel, encodePem } from "../../pki/der/pem.ts";
import { CertificateAuthority } from "../../pki/issue/ca.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { MemoryFiles } from "../../pki/testing/memory_files.ts";
import { GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import { type JoinResponse, JoinResponseSchema } from "../../wire/messages/fairlead.gen.ts";
import { newMessage } from "../../wire/messages/message.ts";
import { CaClient } from "./ca_client.ts";
import { clockSkewMs, describeSkew } from "./clock_skew.ts";
import { joinMesh } from "./joining.ts";
import { createNodeKey, readJoinAnswer } from "./node_certificate.ts";
import { nodeFileName, readNodeFile } from "./node_file.ts";
import type { UnaryCaller } from "./unary_caller.ts";

const provider = runtimeProvider();
const startMs = Date.parse("2026-11-22T12:00:00Z");
const hour = 3_600_000;
const path = `/state/${nodeFileName}`;
let clock: FakeClock;
let ca: CertificateAuthority;

beforeAll(async () => {
  clock = new FakeClock(startMs);
  ca = await CertificateAuthority.create({ clock, provider, trustDomain: "cluster.local" });
});

/** Signs as the control plane does, for whatever name. */
async function answer(csrPem: string, node = "edge-1", certificateOf = node): Promise<JoinResponse> {
  const id = new SpiffeId("cluster.local", nodeNamespace, certificateOf);
  const { chainPem, rootsPem } = await ca.sign({ csrPem, id, lifetimeMs: 24 * hour });
  return newMessage(JoinResponseSchema, {
    certChain: [...chainPem, rootsPem],
    nodeName: node,
    trustDomain: "cluster.local",
    clusterId: "edge",
    rootNamespace: "istio-system",
  });
}

function bench(reply: (csr: string) => Promise<JoinResponse>) {
  const files = new MemoryFiles();
  const lines: string[] = [];
  let calls = 0;
  const caller: UnaryCaller = {
    unary: async <Req, Res>(_method: unknown, request: Req): Promise<Res> => {
      calls++;
      return (await reply((request as { csr: string }).csr)) as Res;
    },
  };
  const options = {
    clock,
    random: { fill() {}, float: () => 0.5 },
    files,
    provider,
    logger: { log: (level: string, _: string, message: string) => void lines.push(`${level} ${message}`) },
    caller,
    control: "control:15012",
    directory: "/state",
    token: "fjt_x",
    nodeName: "edge-1",
    addresses: [],
    labels: {},
    network: "",
    trustDomain: "cluster.local",
    version: "0",
  };
  return { files, lines, options, calls: () => calls };
}

const refusal = (code: (typeof grpcCode)[keyof typeof grpcCode]) => async (): Promise<JoinResponse> => {
  throw new GrpcError(code, "no");
};

describe("joining", () => {
  test("what came is kept in one file that no other user may read, and is there at the next start", async () => {
    const { files, options } = bench((csr) => answer(csr));
    const node = await joinMesh(options);
    expect([...files.contents.keys()]).toEqual([path]);
    expect(files.modes.get(path)).toBe(0o600);
    const again = await readNodeFile(files, "/state", provider);
    expect(again).toEqual(node);
    expect(again?.membership).toMatchObject({ node: "edge-1", clusterId: "edge", control: "control:15012" });
  });

  test("a token that is refused says what to do, and leaves nothing", async () => {
    const { files, options } = bench(refusal(grpcCode.unauthenticated));
    expect(await outcomeOf(joinMesh(options))).toThrow(
      /refused the join token \(UNAUTHENTICATED: no\).*join-token create --node edge-1 --replace/,
    );
    expect([...files.contents.keys()]).toEqual([]);
  });

  test("after an answer that was lost it says that this host may have used the token up itself", async () => {
    let tries = 0;
    const { options } = bench(async () => {
      throw tries++ === 0
        ? new GrpcError(grpcCode.unavailable, "the connection is gone")
        : new GrpcError(grpcCode.unauthenticated, "no");
    });
    const joining = joinMesh(options);
    let isOver = false;
    joining.catch(() => {
      isOver = true;
    });
    // Keys are made on other threads, in a time of their own.
    while (!isOver) await clock.advance(100);
    expect(await outcomeOf(joining)).toThrow(/may have used it in an earlier try/);
  });

  test("a control plane that is away is said once and tried again; what never reached it has used nothing up", async () => {
    const faults = [
      new MeshError("connect_refused", "upstream", "no listener"),
      new MeshError("name_not_found", "upstream", "no name"),
      new GrpcError(grpcCode.unauthenticated, "no"),
    ];
    const { options, lines, files } = bench(async () => {
      throw faults.shift() ?? new Error("no more");
    });
    const joining = joinMesh(options);
    let isOver = false;
    joining.catch(() => {
      isOver = true;
    });
    while (!isOver) await clock.advance(100);
    const error = await rejectionOf(joining);
    expect(String(error)).toContain("refused the join token");
    expect(String(error)).not.toContain("may have used it");
    const words = "the control plane cannot be reached yet; trying again";
    expect(lines).toEqual([`warn ${words}`, `debug ${words}`]);
    expect([...files.contents.keys()]).toEqual([]);
  });

  test("a host whose clock is wrong has joined, and is told by how much; one whose clock is right is not", async () => {
    const late = new FakeClock(startMs - 10 * hour);
    for (const [mine, level] of [
      [clock, []],
      [late, ["error"]],
    ] as const) {
      const { options, lines } = bench((csr) => answer(csr));
      await joinMesh({ ...options, clock: mine });
      expect(lines.map((line) => line.split(" ")[0])).toEqual([...level, "info"]);
    }
  });

  test.each([
    ["for another host", (csr: string) => answer(csr, "edge-1", "edge-2")],
    ["without roots", async (csr: string) => ({ ...(await answer(csr)), certChain: ["x"] })],
    [
      "for another key",
      async () => answer((await createNodeKey(provider, "cluster.local", "edge-1")).csrPem),
    ],
    [
      "of another CA than its roots",
      async (csr: string) => {
        const other = await CertificateAuthority.create({ clock, provider, trustDomain: "cluster.local" });
        const good = await answer(csr);
        return { ...good, certChain: [good.certChain[0] ?? "", other.rootsPem] };
      },
    ],
  ])("an answer %s is refused and not kept", async (_, reply) => {
    const { files, options } = bench(reply);
    expect(await outcomeOf(joinMesh(options))).toThrow(/answer cannot be used/);
    expect(files.contents.has(path)).toBe(false);
    expect([...files.contents.keys()]).toEqual(["/state/joining"]);
  });

  test("a directory that cannot be written is found before the token is shown", async () => {
    const { files, options, calls } = bench((csr) => answer(csr));
    files.writeAtomic = async () => {
      throw new Error("read-only");
    };
    expect(await outcomeOf(joinMesh(options))).toThrow("read-only");
    expect(calls()).toBe(0);
  });

  test("a host whose clock is wrong keeps the answer and is told", async () => {
    const key = await createNodeKey(provider, "cluster.local", "edge-1");
    const response = await answer(key.csrPem);
    for (const nowMs of [startMs - 10 * hour, startMs + 1_000 * hour])
      await readJoinAnswer(response, key, { provider, control: "c", nowMs });
  });
});

describe("what is kept of a join", () => {
  test("any damage is a refusal that says how to join again, never a start without it", async () => {
    const { files, options } = bench((csr) => answer(csr));
    await joinMesh(options);
    const good = new TextDecoder().decode(files.contents.get(path));
    const other = await createNodeKey(provider, "cluster.local", "x");
    const content = JSON.parse(good);
    const bad = [
      "",
      good.slice(0, good.length / 2),
      good.replace('"version": 1', '"version": 2'),
      JSON.stringify({ ...content, privateKeyPem: other.privateKeyPem }),
      JSON.stringify({ ...content, rootsPem: "" }),
      JSON.stringify({ ...content, chainPem: content.rootsPem }),
      JSON.stringify({ ...content, workloads: "x" }),
      JSON.stringify({ ...content, node: undefined }),
    ];
    for (const text of bad) {
      files.put(path, text);
      expect(await outcomeOf(readNodeFile(files, "/state", provider))).toThrow(
        /is damaged.*Nothing was changed.*join-token create/,
      );
    }
    files.put(path, good);
    expect((await readNodeFile(files, "/state", provider))?.membership.node).toBe("edge-1");
  });

  test("a file of just the bound is read, one character more is damage", async () => {
    const { files, options } = bench((csr) => answer(csr));
    await joinMesh(options);
    const good = new TextDecoder().decode(files.contents.get(path));
    const { maxNodeFileBytes } = joinLimits;
    files.put(path, good.padEnd(maxNodeFileBytes));
    expect((await readNodeFile(files, "/state", provider))?.membership.node).toBe("edge-1");
    files.put(path, good.padEnd(maxNodeFileBytes + 1));
    expect(await outcomeOf(readNodeFile(files, "/state", provider))).toThrow("it is too large");
  });
});

describe("certificates of a control plane", () => {
  const id = new SpiffeId("cluster.local", "shop", "cart");

  function client(unary: UnaryCaller["unary"], impersonates = true, own = clock) {
    const lines: string[] = [];
    const logger = {
      log: (level: string, _: string, message: string) => void lines.push(`${level} ${message}`),
    };
    return {
      lines,
      ca: new CaClient({ clock: own, logger, caller: { unary }, impersonates }),
    };
  }

  test("the identity goes with the request of a node alone, and validity is in seconds", async () => {
    for (const impersonates of [true, false]) {
      const asked: { validityDuration: bigint; metadata?: unknown }[] = [];
      const { ca: signer } = client(async <Req, Res>(_: unknown, request: Req) => {
        asked.push(request as never);
        return { certChain: ["", "roots"] } as Res;
      }, impersonates);
      expect(await signer.sign({ csrPem: "csr", id, lifetimeMs: 90_000 })).toEqual({
        chainPem: [""],
        rootsPem: "roots",
      });
      expect(asked[0]?.validityDuration).toBe(90n);
      expect(asked[0]?.metadata).toEqual(impersonates ? { ImpersonatedIdentity: id.uri } : undefined);
    }
  });

  test.each([
    [grpcCode.permissionDenied, "control_refused", /PERMISSION_DENIED: no.*places the workload on this node/],
    [grpcCode.unauthenticated, "control_refused", /UNAUTHENTICATED/],
    [grpcCode.unavailable, "control_unavailable", /failed at a certificate for/],
    [grpcCode.resourceExhausted, "control_unavailable", /RESOURCE_EXHAUSTED/],
  ])("code %d is told as %s", async (code, expected, message) => {
    const { ca: signer } = client(async () => {
      throw new GrpcError(code, "no");
    });
    const failed = signer.sign({ csrPem: "csr", id, lifetimeMs: hour });
    expect(await outcomeOf(failed)).toThrow(message);
    expect(await rejectionOf(failed)).toMatchObject({ code: expected });
  });

  test("an answer without roots, or without end, is refused", async () => {
    for (const certChain of [[], ["leaf"], Array.from({ length: 100 }, () => "x")]) {
      const { ca: signer } = client(async <Res>() => ({ certChain }) as Res);
      expect(await outcomeOf(signer.sign({ csrPem: "csr", id, lifetimeMs: hour }))).toThrow(
        /without roots|too long/,
      );
    }
  });

  test("a clock that is an hour off is told once, and when it is right again", async () => {
    const theirs = async () =>
      (await answer((await createNodeKey(provider, "cluster.local", "x")).csrPem)).certChain;
    const own = new FakeClock(clock.wallMs() - hour);
    const { lines, ca: signer } = client(
      async <_, Res>() => ({ certChain: await theirs() }) as Res,
      true,
      own,
    );
    const ask = () => signer.sign({ csrPem: "csr", id, lifetimeMs: hour });
    await ask();
    await ask();
    // Certificates know whole seconds.
    expect(signer.skewMs).toBeWithin(-hour, -hour + 1_000);
    own.jumpWall(hour);
    await ask();
    expect(signer.skewMs).toBeNull();
    expect(lines).toEqual([
      `error ${describeSkew(-hour)}`,
      "info this host's clock agrees with the control plane's again",
    ]);
  });

  test("what a fresh certificate tells of the clock", () => {
    const now = startMs;
    const issuedAt = (theirs: number) => theirs - 2 * 60_000;
    expect(clockSkewMs(issuedAt(now), now, now + 50)).toBeNull();
    expect(clockSkewMs(issuedAt(now + 4 * 60_000), now, now)).toBeNull();
    expect(clockSkewMs(issuedAt(now + hour), now, now + 50)).toBe(50 - hour);
    expect(clockSkewMs(issuedAt(now - hour), now, now + 50)).toBe(hour);
    // A call that took long tells nothing about the clock.
    expect(clockSkewMs(issuedAt(now + hour), now, now + 2 * hour)).toBeNull();
    expect(describeSkew(-hour)).toBe(
      "this host's clock is 60 minutes behind the control plane's: set it (NTP), certificates depend on it",
    );
  });
});

describe("what is wrong is said", () => {
  async function joined() {
    const { files, options } = bench((csr) => answer(csr));
    await joinMesh(options);
    const content = JSON.parse(await files.readText(path));
    const said = async (text: string): Promise<string> => {
      files.put(path, text);
      return await readNodeFile(files, "/state", provider).then(
        () => "read",
        (thrown) => /is damaged \((.*?)\)\. Nothing/.exec(String(thrown))?.[1] ?? String(thrown),
      );
    };
    return {
      files,
      content,
      said,
      changed: (change: object) => said(JSON.stringify({ ...content, ...change })),
    };
  }

  test("of a host's file, in its own words", async () => {
    const { said, changed } = await joined();
    expect(await changed({})).toBe("read");
    for (const text of ["7", "null", '"text"'])
      expect([text, await said(text)]).toEqual([text, "it is not an object"]);
    for (const workloads of ["shop/cart", ["shop/cart", 7], undefined])
      expect(await changed({ workloads })).toBe('"workloads" is no list of names');
    expect(await changed({ workloads: ["shop/cart"] })).toBe("read");
    for (const missing of [{ chainPem: "" }, { privateKeyPem: "" }])
      expect(await changed(missing)).toBe("the certificate or its key is missing");
    const notAKey = encodePem("PRIVATE KEY", new Uint8Array(40));
    expect(await changed({ privateKeyPem: notAKey })).toBe("the key is not the certificate's");
  });

  test("a disk that cannot be read is no damage", async () => {
    const { files } = await joined();
    files.readText = () => Promise.reject(new MeshError("io", "local", "input/output error"));
    expect(await rejectionOf(readNodeFile(files, "/state", provider))).toMatchObject({ code: "io" });
  });

  test("of an answer: without roots, or with too many certificates, and not with just as many", async () => {
    const key = await createNodeKey(provider, "cluster.local", "edge-1");
    const good = await answer(key.csrPem);
    const read = async (certChain: readonly string[]): Promise<string> =>
      await readJoinAnswer({ ...good, certChain: [...certChain] }, key, {
        provider,
        control: "c",
        nowMs: startMs,
      }).then(
        () => "read",
        (thrown) => String(thrown).replace(/^.*cannot be used: /, ""),
      );
    const [leaf = "", roots = ""] = good.certChain;
    const padded = (length: number) => [leaf, ...new Array<string>(length - 2).fill(""), roots];
    expect(await read([leaf])).toBe("it has no certificate and roots");
    expect(await read(padded(pkiLimits.maxPathCertificates))).toBe("read");
    expect(await read(padded(pkiLimits.maxPathCertificates + 1))).toBe("its chain is too long");
  });

  test("a request says the name that the host wants, or that it is joining", async () => {
    for (const [name, said] of [
      ["edge-1", "/sa/edge-1"],
      ["", "/sa/joining"],
    ] as const) {
      const { csrPem } = await createNodeKey(provider, "cluster.local", name);
      const [der = new Uint8Array()] = decodePemLabel(csrPem, "CERTIFICATE REQUEST");
      expect(Buffer.from(der).toString("latin1")).toContain(said);
    }
  });
});
