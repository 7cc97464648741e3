/**
 * Routes of the Gateway API with requests, in words that a mesh and a gateway both read: `PARENT` is what they are attached to, `NAME` the
 * case's own. v1 and v2 are the services behind them.
 */
import type { AskedRequest } from "../route_cases.ts";

export interface GatewayRequest extends AskedRequest {
  /** The version that must get a copy of it, too. */
  readonly mirrored?: "v2";
  /** Envoy Gateway answers otherwise, and why that is right for it or wrong: what it answers, so that a change is noticed. */
  readonly envoy?: {
    readonly expect: AskedRequest["expect"];
    readonly location?: string;
    readonly reason: string;
  };
}

export interface GatewayCase {
  readonly name: string;
  readonly documents: string;
  readonly requests: readonly GatewayRequest[];
  /** Asked so often; v2's share of it must be this. */
  readonly share?: { readonly times: number; readonly v2: number };
}

export const http = (
  rules: string,
  name = "NAME",
  created = "",
): string => `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ${name}, namespace: shop${created === "" ? "" : `, creationTimestamp: "${created}"`}}
spec:
  parentRefs: [PARENT]
  rules:
${rules.replace(/^/gm, "  ")}
`;

export const to = (...names: readonly string[]): string =>
  `backendRefs: [${names.map((name) => `{name: ${name}, port: 80}`).join(", ")}]`;

export const get = (
  path: string,
  expect: AskedRequest["expect"],
  headers?: Readonly<Record<string, string>>,
): GatewayRequest => ({ line: `GET ${path}`, expect, ...(headers === undefined ? {} : { headers }) });

export const withMethod = (method: string, path: string, expect: AskedRequest["expect"]): GatewayRequest => ({
  line: `${method} ${path}`,
  expect,
  headers: { "content-length": "0" },
});
