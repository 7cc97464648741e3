import { describe, expect, test } from "bun:test";
import { parseDocuments } from "./parse.ts";

function read(apiVersion: string, kind: string, rest = "") {
  const head = apiVersion === "" ? "" : `apiVersion: ${apiVersion}\n`;
  const text = `${head}kind: ${kind}\nmetadata: {name: x, namespace: shop}\n${rest}`;
  const { entries, errors } = parseDocuments([{ path: "f", text }]);
  return {
    key: entries[0]?.key,
    denies: entries[0]?.refusedPolicy !== null,
    errors: errors.map(({ location, message }) => `${location.line}:${location.column} ${message}`),
  };
}

describe("kinds that are not acted on are told apart", () => {
  const cases: readonly (readonly [string, string, string])[] = [
    ["networking.istio.io/v1", "Sidecar", "2:7 Sidecar is not supported yet; it has no effect"],
    ["networking.istio.io/v1", "Gateway", "2:7 Istio's own Gateway is not supported yet; it has no effect"],
    ["gateway.networking.k8s.io/v1", "ListenerSet", "2:7 ListenerSet is not supported yet; it has no effect"],
    [
      "gateway.networking.x-k8s.io/v1alpha1",
      "XBackendTrafficPolicy",
      "2:7 XBackendTrafficPolicy is not supported yet; it has no effect",
    ],
    [
      "gateway.networking.x-k8s.io/v1alpha1",
      "XSomethingNew",
      "2:7 XSomethingNew of gateway.networking.x-k8s.io is not supported yet; it has no effect",
    ],
    ["v1", "Service", "2:7 Service is not read: describe it as a ServiceEntry"],
    ["apps/v1", "Deployment", "2:7 Deployment is not read: describe its instances as WorkloadEntries"],
    ["batch/v1", "CronJob", "2:7 CronJob is Kubernetes' own and is not read"],
    ["rbac.authorization.k8s.io/v1", "ClusterRole", "2:7 ClusterRole is Kubernetes' own and is not read"],
    [
      "cert-manager.io/v1",
      "Certificate",
      "2:7 Certificate of cert-manager.io is another project's kind and is not read",
    ],
    [
      "serving.knative.dev/v1",
      "Service",
      "2:7 Service of serving.knative.dev is another project's kind and is not read",
    ],
    [
      "policy.linkerd.io/v1alpha1",
      "AuthorizationPolicy",
      "1:13 AuthorizationPolicy of policy.linkerd.io is another project's kind and is not read",
    ],
    [
      "fairlead.dev/v1",
      "Administrator",
      "2:7 Administrator is not a document of a mesh; give it to a control plane",
    ],
  ];
  for (const [apiVersion, kind, message] of cases)
    test(`${kind} of ${apiVersion}`, () => {
      // Fields of its own are no matter of ours.
      expect(read(apiVersion, kind, "data: {a: b}\nspec: {what: ever}\n")).toEqual({
        key: `${kind} shop/x`,
        denies: false,
        errors: [message],
      });
    });
});

describe("a slip is no foreign kind", () => {
  test("in the kind", () => {
    expect(read("security.istio.io/v1", "AuthorizationPolcy").errors).toEqual([
      '2:7 there is no kind "AuthorizationPolcy"; did you mean AuthorizationPolicy?',
    ]);
    expect(read("gateway.networking.k8s.io/v1", "HTTPRoutes").errors).toEqual([
      '2:7 there is no kind "HTTPRoutes"; did you mean HTTPRoute?',
    ]);
  });

  const slips = [
    ["security.istio.oi/v1", "; did you mean security.istio.io/v1?"],
    ["security.istio.io/v2", "; did you mean security.istio.io/v1?"],
    ["networking.istio.io/v1", "; did you mean security.istio.io/v1?"],
    ["v1", ""],
  ] as const;
  for (const [apiVersion, hint] of slips)
    test(`in apiVersion (${apiVersion}): the policy is refused, and denies until it is mended`, () => {
      const { key, denies, errors } = read(apiVersion, "AuthorizationPolicy", "spec: {}\n");
      expect({ key, denies }).toEqual({ key: "AuthorizationPolicy shop/x", denies: true });
      expect(errors).toEqual([
        `1:13 AuthorizationPolicy has apiVersion security.istio.io/v1, security.istio.io/v1beta1, not "${apiVersion}"${hint}`,
      ]);
    });

  test("without any apiVersion", () => {
    expect(read("", "PeerAuthentication")).toEqual({
      key: "PeerAuthentication shop/x",
      denies: true,
      errors: ["1:1 apiVersion is missing"],
    });
  });
});
