/** Hosts that have joined, and the certificates that were issued. */
import { controlAdminLimits } from "../../base/limits/control.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import type { IssuedCertificate } from "../../control/records/certificates.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { answerJson } from "./json_answer.ts";
import { Problem } from "./problem.ts";
import { pageSize } from "./request_body.ts";
import type { ControlApp } from "./route.ts";
import { notFound, type Session } from "./session.ts";
import type { NodeEntry } from "./sources.ts";
import { bindingNamespace } from "./token_routes.ts";

export function addNodeRoutes(app: ControlApp): void {
  app.get("/v1/nodes", async (context) => {
    const session = context.get("session");
    session.visible("nodes.read");
    const { clock } = session.sources;
    const slice = new TimeSlice(clock);
    const nodes: unknown[] = [];
    for (const one of session.sources.nodes()) {
      if (session.may("nodes.read", bindingNamespace(one.binding))) nodes.push(describeNode(session, one));
      await slice.giveWay();
    }
    return answerJson(clock, { nodes });
  });
  app.get("/v1/nodes/:node", (context) => {
    const session = context.get("session");
    const name = context.req.param("node");
    const node = session.sources.node(name);
    session.see("nodes.read", node === null ? null : bindingNamespace(node.binding), `node ${name}`);
    if (node === null) throw notFound(`node ${name}`);
    return context.json(describeNode(session, node));
  });
  app.delete("/v1/nodes/:node", async (context) => {
    const session = context.get("session");
    const name = context.req.param("node");
    const words = `node ${name}`;
    const binding = session.sources.bindingOf(name);
    const namespace = binding === null ? null : bindingNamespace(binding);
    session.see("nodes.read", namespace, words);
    if (binding === null) throw notFound(words);
    session.demand("nodes.remove", namespace, words);
    const revoked = session.sources.revocations.find({ kind: "node", value: name });
    // Its name would be free again, which is what the revocation keeps it from.
    if (revoked !== null && !session.may("revocations.write", revoked.byNamespace || null))
      throw session.refuse(
        403,
        "nodes.remove",
        words,
        namespace,
        `${words} was revoked by an administrator of the mesh; only an administrator of the mesh may remove it`,
      );
    const by = { name: session.name, namespace: session.rightTo("nodes.remove", namespace) };
    const entry = session.entry("nodes.remove", words, namespace);
    if (!(await session.sources.removeNode(name, entry, by))) throw notFound(words);
    return context.body(null, 204);
  });
  app.get("/v1/certificates", (context) => {
    const session = context.get("session");
    session.visible("certificates.read");
    const { limit, after, identity, valid } = context.req.query();
    const query = {
      ...(identity === undefined ? {} : { identity }),
      ...(valid === "true" ? { validAtMs: session.sources.clock.wallMs() } : {}),
    };
    return context.json(listCertificates(session, query, pageSize(limit), after ?? null));
  });
  app.get("/v1/certificates/:serial", (context) => {
    const session = context.get("session");
    const serial = context.req.param("serial").toLowerCase();
    const found = session.sources.certificates.bySerial(serial);
    session.see(
      "certificates.read",
      found === null ? null : namespaceOf(found.identity),
      `certificate ${serial}`,
    );
    if (found === null) throw notFound(`certificate ${serial}`);
    return context.json(describeCertificate(session, found));
  });
}

/** Every node is told of the whole mesh, so what it refused may be another tenant's: to a tenant it is a number. */
function describeNode(session: Session, node: NodeEntry): unknown {
  const everything = session.mayInMesh("nodes.read");
  const { binding, addresses, network, labels, joinedAtMs, lastSeenMs, revokedAtMs, revokeReason } = node;
  return {
    node: node.node,
    binding,
    addresses,
    network,
    labels,
    joinedAtMs,
    lastSeenMs,
    revokedAtMs,
    revokeReason,
    connected: node.connected,
    programVersion: node.programVersion,
    versionSkew: node.versionSkew,
    subscriptions: node.subscriptions.map(({ typeUrl, sent, acknowledged, queued, nacks }) => ({
      typeUrl,
      sent,
      acknowledged,
      queued,
      nackCount: nacks.length,
      ...(everything ? { nacks } : {}),
    })),
  };
}

/** Of an identity that is none of ours: the mesh's. */
export function namespaceOf(identity: string): string | null {
  return SpiffeId.parse(identity)?.namespace ?? null;
}

function listCertificates(
  session: Session,
  query: { readonly identity?: string; readonly validAtMs?: number },
  limit: number,
  cursor: string | null,
): unknown {
  const certificates: unknown[] = [];
  let after = cursor === null ? null : readCursor(cursor);
  for (let scanned = 0; scanned < controlAdminLimits.maxScanned; ) {
    const page = session.sources.certificates.list({
      ...query,
      limit: controlAdminLimits.maxPage,
      ...(after === null ? {} : { after }),
    });
    for (const one of page) {
      scanned++;
      after = { issuedAtMs: one.issuedAtMs, serial: one.serial };
      if (!session.may("certificates.read", namespaceOf(one.identity))) continue;
      certificates.push(describeCertificate(session, one));
      if (certificates.length === limit) return { certificates, next: writeCursor(after) };
    }
    if (page.length === 0) return { certificates, next: null };
  }
  // The last row that was looked at is another tenant's: only its time is told, and what is of the same moment comes again.
  return { certificates, next: after === null ? null : writeCursor({ ...after, serial: lastSerial }) };
}

function describeCertificate(session: Session, certificate: IssuedCertificate): unknown {
  const { serial, identity, issuerKey, notBeforeMs, notAfterMs, issuedAtMs, requestedBy } = certificate;
  const own = session.mayInMesh("certificates.read") || requestedBy === identity;
  return {
    serial,
    identity,
    issuerKey,
    notBeforeMs,
    notAfterMs,
    issuedAtMs,
    requestedBy: own ? requestedBy : null,
  };
}

interface Cursor {
  readonly issuedAtMs: number;
  readonly serial: string;
}

/** Behind every serial number, in the order of the list. */
const lastSerial = "g";

function writeCursor({ issuedAtMs, serial }: Cursor): string {
  return `${issuedAtMs}-${serial}`;
}

function readCursor(text: string): Cursor {
  const match = /^([0-9]{1,16})-([0-9a-f]{1,64}|g)$/.exec(text);
  if (match === null) throw new Problem(400, '"after" is not the "next" of a page');
  return { issuedAtMs: Number(match[1]), serial: match[2] ?? "" };
}
