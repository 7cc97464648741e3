/** Who a leaf certificate says it is: exactly one URI name, and that a SPIFFE identity. */
import { MeshError } from "../../base/errors.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { printable } from "../der/distinguished_name.ts";
import type { Certificate } from "../x509/certificate.ts";

/**
 * X509-SVID §2: exactly one URI SAN. ztunnel takes the first that parses; two would let one certificate be two workloads,
 * so here they are refused. DNS names may stand beside it and mean nothing; a common name never means anything.
 *
 * @throws MeshError `certificate_identity`, blame peer.
 */
export function leafIdentity(leaf: Certificate): SpiffeId {
  const uris = leaf.extensions.subjectAltNames.filter((name) => name.kind === "uri");
  const [first] = uris;
  if (first === undefined) throw wrong("certificate has no URI name");
  if (uris.length > 1) throw wrong(`certificate has ${uris.length} URI names, an SVID has one`);
  const id = SpiffeId.parse(first.value);
  if (id === null) throw wrong(`URI name "${printable(first.value)}" is not a SPIFFE identity of the mesh`);
  return id;
}

function wrong(message: string): MeshError {
  return new MeshError("certificate_identity", "peer", message);
}
