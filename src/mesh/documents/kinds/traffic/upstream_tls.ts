/** `tls` of a DestinationRule (Istio `agent.ValidateTLS`; `cluster_waypoint.go` says which modes a waypoint applies). */
import type { UpstreamTls } from "../../../traffic/destination_policy.ts";
import { type ObjectReader, type Problems, quote } from "../../reader.ts";
import { isServiceHost } from "../address.ts";
import { readFlag } from "./scalars.ts";

const fields = {
  known: [
    ...["mode", "clientCertificate", "privateKey", "caCertificates", "caCrl", "subjectAltNames", "sni"],
    ...["insecureSkipVerify"],
  ],
  unsupported: { credentialName: "Secrets are not supported; name files of the waypoint's host" },
};

export function readUpstreamTls(
  policy: ObjectReader,
  namespace: string,
  problems: Problems,
): UpstreamTls | null {
  const reader = policy.object("tls", fields);
  if (reader === null) return null;
  const mode = reader.choice("mode", ["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]);
  if (mode === null && !reader.has("mode")) problems.add(reader.at, `${reader.path("mode")} is missing`);
  const file = (field: string): string | null => reader.string(field)?.value || null;
  const skips = readFlag(reader, "insecureSkipVerify", problems) ?? false;
  const subjectAltNames = reader.strings("subjectAltNames").map(({ value }) => value);
  const sni = reader.string("sni");
  if (sni !== null && sni.value !== "" && !isServiceHost(sni.value))
    problems.add(sni.at, `${reader.path("sni")}: ${quote(sni.value)} is not a host name`, sni.value);
  if (skips) {
    for (const field of ["caCertificates", "subjectAltNames"])
      if (reader.has(field))
        problems.add(
          reader.where(field),
          `${reader.path(field)} cannot be given with insecureSkipVerify`,
          field,
        );
    problems.warn(
      reader.where("insecureSkipVerify"),
      "Ignored",
      `${reader.path("insecureSkipVerify")}: any server that answers is accepted as the service`,
    );
  }
  if (mode?.value === "MUTUAL")
    for (const field of ["clientCertificate", "privateKey"])
      if (file(field) === null)
        problems.add(reader.at, `${reader.path(field)} is missing, and MUTUAL needs it`);
  if (mode === null || mode.value === "DISABLE" || mode.value === "ISTIO_MUTUAL") {
    if (mode !== null)
      problems.warn(
        mode.at,
        "Ignored",
        `${reader.path("mode")} ${mode.value} has no effect at a waypoint: workloads of the mesh are reached by HBONE`,
      );
    return null;
  }
  return {
    namespace,
    mode: mode.value === "MUTUAL" ? "mutual" : "simple",
    sni: sni?.value ?? "",
    caCertificates: file("caCertificates"),
    caCrl: file("caCrl"),
    clientCertificate: file("clientCertificate"),
    privateKey: file("privateKey"),
    subjectAltNames,
    insecureSkipVerify: skips,
    location: reader.at,
  };
}
