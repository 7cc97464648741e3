/** `ValidatePeerAuthentication` of Istio's `pkg/config/validation/validation.go`, and the schema's own rules. */
import { type Case, document, refused, taken } from "./case.ts";

const pa = (spec: string): string => document("PeerAuthentication", spec);
const selected = "selector: {matchLabels: {app: db}}";

export const peerAuthenticationCases: readonly Case[] = [
  taken("no spec at all", pa("")),
  taken("an empty spec", pa("{}")),
  taken("STRICT for the namespace", pa("mtls: {mode: STRICT}")),
  taken("PERMISSIVE", pa("mtls: {mode: PERMISSIVE}")),
  taken("DISABLE", pa("mtls: {mode: DISABLE}")),
  taken("UNSET", pa("mtls: {mode: UNSET}")),
  taken("mtls without a mode", pa("mtls: {}")),
  taken("for selected workloads", pa(`${selected}\nmtls: {mode: STRICT}`), "selects no workload"),
  taken(
    "a selector without labels is the namespace",
    pa("selector: {}\nmtls: {mode: STRICT}"),
    "whole namespace",
  ),
  taken("empty matchLabels too", pa("selector: {matchLabels: {}}\nmtls: {mode: STRICT}"), "whole namespace"),
  taken(
    "an exception for a port",
    pa(`${selected}\nmtls: {mode: STRICT}\nportLevelMtls: {8080: {mode: DISABLE}}`),
  ),
  taken(
    "ports as text",
    pa(`${selected}\nportLevelMtls: {"8080": {mode: STRICT}, "9090": {mode: PERMISSIVE}}`),
  ),
  taken("a port that inherits", pa(`${selected}\nportLevelMtls: {8080: {}}`)),
  taken(
    "the first port and the last",
    pa(`${selected}\nportLevelMtls: {1: {mode: STRICT}, 65535: {mode: STRICT}}`),
  ),
  taken(
    "a label with a prefix",
    pa("selector: {matchLabels: {app.kubernetes.io/name: db}}\nmtls: {mode: STRICT}"),
  ),
  taken("a label without a value", pa('selector: {matchLabels: {canary: ""}}\nmtls: {mode: STRICT}')),
  taken(
    "a label that nothing can have",
    pa("selector: {matchLabels: {app: a/b}}\nmtls: {mode: STRICT}"),
    '"a/b" is not a valid value of a label, so nothing is selected',
  ),
  refused("a mode that is none", pa("mtls: {mode: «STRIKT»}"), "did you mean STRICT?"),
  refused("a mode in lower case", pa("mtls: {mode: «strict»}"), "did you mean STRICT?"),
  refused("a mode that is no text", pa("mtls: {mode: «true»}"), "must be a string"),
  refused("a mode without its object", pa("mtls: «STRICT»"), "must be an object"),
  refused("a field that is none", pa("mtls: {«mod»: STRICT}"), "did you mean mode?"),
  refused("a field of the spec that is none", pa("«mtl»: {mode: STRICT}"), "did you mean mtls?"),
  refused("ports for a namespace", pa("«portLevelMtls»: {8080: {mode: STRICT}}"), "needs spec.selector"),
  refused(
    "ports and a selector without labels",
    pa("selector: {}\n«portLevelMtls»: {80: {mode: STRICT}}"),
    "needs",
  ),
  refused("no port at all", pa(`${selected}\n«portLevelMtls»: {}`), "is empty"),
  refused("port 0", pa(`${selected}\nportLevelMtls: {«0»: {mode: STRICT}}`), "is not a port"),
  refused("port 65536", pa(`${selected}\nportLevelMtls: {«65536»: {mode: STRICT}}`), "is not a port"),
  refused("a negative port", pa(`${selected}\nportLevelMtls: {«-1»: {mode: STRICT}}`), "is not a port"),
  refused("a port by name", pa(`${selected}\nportLevelMtls: {«http»: {mode: STRICT}}`), "is not a port"),
  refused(
    "a port's mode that is none",
    pa(`${selected}\nportLevelMtls: {80: {mode: «ON»}}`),
    "must be one of",
  ),
  refused(
    "a port's field that is none",
    pa(`${selected}\nportLevelMtls: {80: {«mtls»: {}}}`),
    "has no field",
  ),
  refused("a wildcard as a label's value", pa('selector: {matchLabels: {app: «"*"»}}'), "wildcard"),
  refused("a wildcard within a label's value", pa("selector: {matchLabels: {app: «db-*»}}"), "wildcard"),
  refused("a wildcard in a label's name", pa('selector: {matchLabels: {«"a*"»: db}}'), "wildcard"),
  refused("a label without a name", pa('selector: {matchLabels: {«»"": db}}'), "without a name"),
  refused(
    "a label's value of 64 characters",
    pa(`selector: {matchLabels: {app: «${"a".repeat(64)}»}}`),
    "longer than 63",
  ),
  refused("labels that are a list", pa("selector: {matchLabels: «»[app, db]}"), "must be an object"),
  refused("a label that is a number", pa("selector: {matchLabels: {app: «1»}}"), "must be a string"),
  refused("a selector's field that is none", pa("selector: {«labels»: {app: db}}"), "has no field"),
  refused("a mode without a value", pa("mtls: {«mode»: }"), "has no value"),
  refused("mtls without a value", pa("«mtls»:"), "has no value"),
];
