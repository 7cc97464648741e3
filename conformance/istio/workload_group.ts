/** `ValidateWorkloadGroup` and `validateReadinessProbe` of Istio's `pkg/config/validation/validation.go`. */
import { type Case, document, refused, stricter, taken } from "./case.ts";

const wg = (spec: string): string => document("WorkloadGroup", spec);
const probe = (fields: string): string => wg(`template: {serviceAccount: a}\nprobe: ${fields}`);
const ignored = "spec.probe is not carried out";

export const workloadGroupCases: readonly Case[] = [
  taken("a template", wg("template: {serviceAccount: web}")),
  taken("an empty template", wg("template: {}")),
  taken(
    "all that there is",
    wg(
      "metadata: {labels: {app: web}, annotations: {a: b}}\ntemplate: {ports: {http: 80}, labels: {version: v1}, network: west, locality: r/z, weight: 2, serviceAccount: web}",
    ),
  ),
  taken("empty metadata", wg("metadata: {}\ntemplate: {}")),
  refused("no template", wg("«»metadata: {labels: {a: b}}"), "template is missing"),
  refused(
    "a label's name that is none",
    wg('metadata: {labels: {«"a b"»: c}}\ntemplate: {}'),
    "is not the name of a label",
  ),
  refused(
    "a label's value that is none",
    wg("metadata: {labels: {a: «b/c»}}\ntemplate: {}"),
    "is not a valid value of a label",
  ),
  refused("a field that is none", wg("«templat»: {}\ntemplate: {}"), "did you mean template?"),
  refused(
    "a template's field that is none",
    wg("template: {«serviceAcount»: a}"),
    "did you mean serviceAccount?",
  ),
  refused("a template's port 0", wg("template: {ports: {http: «0»}}"), "must be from 1 to 65535"),
  refused(
    "a template's port name that is none",
    wg("template: {ports: {«a_b»: 80}}"),
    "is not the name of a port",
  ),
  refused("no spec", wg("").replace("apiVersion", "«»apiVersion"), "spec is missing"),
  stricter(
    "a template's label that is none",
    wg("template: {labels: {a: «b/c»}}"),
    "is not a valid value of a label",
  ),
  stricter("a template's address", wg("template: {«address»: 10.0.0.1}"), "each host has its own"),
  taken("a probe by HTTP", probe("{httpGet: {path: /ready, port: 8080}}"), ignored),
  taken("a probe by HTTPS", probe("{httpGet: {port: 8443, scheme: HTTPS, host: a.b}}"), ignored),
  taken("a probe with an empty scheme", probe('{httpGet: {port: 80, scheme: ""}}'), ignored),
  taken(
    "a probe with headers",
    probe("{httpGet: {port: 80, httpHeaders: [{name: X-A, value: b}]}}"),
    ignored,
  ),
  taken("a probe by TCP", probe("{tcpSocket: {port: 8080, host: a.b}}"), ignored),
  taken("a probe by a command", probe("{exec: {command: [/bin/true, -x]}}"), ignored),
  taken(
    "times of a probe",
    probe(
      "{tcpSocket: {port: 1}, initialDelaySeconds: 1, timeoutSeconds: 1, periodSeconds: 5, successThreshold: 1, failureThreshold: 3}",
    ),
    ignored,
  ),
  taken("times of nothing", probe("{tcpSocket: {port: 1}, periodSeconds: 0}"), ignored),
  refused("a probe without a way", probe("«»{}"), "has no method"),
  refused("a probe of times alone", probe("«»{periodSeconds: 5}"), "has no method"),
  refused("two ways", probe("{httpGet: {port: 80}, «tcpSocket»: {port: 80}}"), "it takes one"),
  refused("a probe by gRPC", probe("{«grpc»: {port: 80}}"), "is not supported"),
  refused("HTTP without a port", probe("{httpGet: «»{path: /}}"), "port is missing"),
  refused("TCP without a port", probe("{tcpSocket: «»{}}"), "port is missing"),
  refused("port 0", probe("{httpGet: {port: «0»}}"), "must be from 1 to 65535"),
  refused("port 65536", probe("{tcpSocket: {port: «65536»}}"), "must be from 1 to 65535"),
  refused(
    "a scheme that is none",
    probe("{httpGet: {port: 80, scheme: «FTP»}}"),
    "must be one of HTTP, HTTPS",
  ),
  refused("a scheme in lower case", probe("{httpGet: {port: 80, scheme: «https»}}"), "did you mean HTTPS?"),
  refused(
    "a header without a name",
    probe("{httpGet: {port: 80, httpHeaders: [«»{value: a}]}}"),
    "name is missing",
  ),
  refused(
    "a header's name with a blank",
    probe("{httpGet: {port: 80, httpHeaders: [{name: «X A»}]}}"),
    "is not the name of a header",
  ),
  refused(
    "a header's name with an underscore",
    probe("{httpGet: {port: 80, httpHeaders: [{name: «X_A»}]}}"),
    "is not the name of a header",
  ),
  refused("a command of nothing", probe("{exec: {«»command: []}}"), "is missing or empty"),
  refused("no command", probe("{exec: «»{}}"), "is missing or empty"),
  refused("an empty word of a command", probe('{exec: {command: [a, «»""]}}'), "has an empty value"),
  refused("a negative period", probe("{tcpSocket: {port: 1}, periodSeconds: «-1»}"), "must be from 0"),
  refused("a negative delay", probe("{tcpSocket: {port: 1}, initialDelaySeconds: «-1»}"), "must be from 0"),
  refused("a negative deadline", probe("{tcpSocket: {port: 1}, timeoutSeconds: «-1»}"), "must be from 0"),
  refused(
    "a negative threshold of success",
    probe("{tcpSocket: {port: 1}, successThreshold: «-1»}"),
    "must be from 0",
  ),
  refused(
    "a negative threshold of failure",
    probe("{tcpSocket: {port: 1}, failureThreshold: «-1»}"),
    "must be from 0",
  ),
  refused(
    "a part of a second",
    probe("{tcpSocket: {port: 1}, periodSeconds: «0.5»}"),
    "must be a whole number",
  ),
  refused("a probe's field that is none", probe("{tcpSocket: {port: 1}, «period»: 1}"), "has no field"),
];
