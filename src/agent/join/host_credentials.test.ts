/** What a host shows to its control plane, from before it has anything until its workloads have certificates. */
import { describe, expect, test } from "bun:test";
import { HostCredentials } from "./host_credentials.ts";

const own = {
  credentials: { certificateChainPem: "chain", privateKeyPem: "key", trustedRootsPem: "roots" },
  node: { rootsPem: "roots of now" },
};
const token = { kind: "file", path: "token" } as const;

describe("a host shows", () => {
  test("nothing before it has joined, and knows the mesh by what an earlier join left", () => {
    const credentials = new HostCredentials("roots of then");
    expect(credentials.present()).toEqual({ credentials: null, bearer: null, spare: null });
    expect(credentials.rootsPem).toBe("roots of then");
    expect(new HostCredentials(null).rootsPem).toBe(null);
  });

  test("its own certificate alone once it has one, and goes by the roots of that", () => {
    const credentials = new HostCredentials(null);
    credentials.trustRoots("roots of the join");
    expect(credentials.rootsPem).toBe("roots of the join");
    credentials.showToken(token);
    credentials.showCertificateOf(own);
    expect(credentials.present()).toEqual({ credentials: own.credentials, bearer: null, spare: null });
    expect(credentials.rootsPem).toBe("roots of now");
  });

  test("its token where it has no certificate of its own, with nothing in reserve before a workload has one", () => {
    const credentials = new HostCredentials(null);
    credentials.showToken(token);
    expect(credentials.present()).toEqual({ credentials: null, bearer: token, spare: null });
  });
});
