/** What administration of the control plane is handed: its parts in administration's words. */
import type {
  AdminCredentials,
  AuthenticationRefusal,
  AuthoritySource,
  ControlSources,
  RevocationTarget as NamedTarget,
  NodeEntry,
  RevocationSource,
  RootKeySource,
  RotationSource,
  StateCopy,
  Subject,
  SubscriptionEntry,
} from "../../admin/control/sources.ts";
import { asMeshError, MeshError } from "../../base/errors.ts";
import { auditLimits, identityLimits, keysLimits, stateLimits } from "../../base/limits/control.ts";
import { TokenBucket } from "../../base/token_bucket.ts";
import { archiveAction } from "../../control/audit/archive.ts";
import { checkArchive } from "../../control/audit/archive_check.ts";
import { recordOf } from "../../control/audit/audit_record.ts";
import type { RevocationTarget } from "../../control/keys/authority_source.ts";
import type { AuditCheck, AuditHead } from "../../control/records/audit.ts";
import type { Registration } from "../../control/records/registrations.ts";
import type { ControlState } from "../../control/state/control_state.ts";
import { skewOf } from "../../control/xds/node_info.ts";
import type { SubscriberStatus } from "../../control/xds/subscriber.ts";
import type { Files, Host } from "../../host/host.ts";
import type { LogWriter } from "../../host/log_writer.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import { versionFields } from "../version.ts";
import type { ControlParts } from "./parts.ts";
import { explainOnControl } from "./policies.ts";

export function controlSources(
  host: Host,
  parts: ControlParts,
  logger: LogWriter,
  pending: () => readonly string[],
): ControlSources {
  const { state, config, identity, documents } = parts;
  const { clock } = host;
  const refusals = new TokenBucket(identityLimits.auditRate);
  return {
    clock,
    logger,
    rootNamespace: config.rootNamespace,
    trustDomain: config.trustDomain,
    controlIdentity: parts.controlId.uri,
    authenticate: (credentials) => authenticate(parts, credentials),
    recordRefusal: (entry) => {
      if (!refusals.take(clock.now())) return;
      try {
        state.audit.append(entry);
      } catch (thrown) {
        const { message } = asMeshError(thrown, "io", "local");
        logger.log("error", "admin", "a refusal could not be recorded", { error: message });
      }
    },
    transaction: (work) => state.transaction(work),
    administrators: {
      given: parts.administrators,
      isFirstRetired: () => parts.firstRole.isRetired,
      retireFirst: () => parts.firstRole.retire(),
      read: () => state.settings.get(administratorsSetting),
      write: (text) => state.settings.set(administratorsSetting, text),
    },
    documents,
    tokens: {
      list: () => state.tokens.list(),
      create: (request) => identity.joinTokens.create(request),
      revoke: (id) => void state.tokens.revoke(id),
    },
    nodes: () => nodeEntries(host, parts),
    node: (name) => {
      const registration = state.registrations.byNode(name);
      return registration === null ? null : describeNodes(host, parts)(registration);
    },
    nodeCounts: () => ({ joined: state.registrations.count(), connected: parts.members.connectedCount }),
    removeNode: (node, entry, by) => parts.hostRemoval.remove(node, entry, by),
    bindingOf: (node) => state.registrations.byNode(node)?.binding ?? null,
    certificates: state.certificates,
    revocations: revocationSource(host, parts),
    authority: authoritySource(parts),
    audit: {
      append: (entry) => void state.audit.append(entry),
      read: (query) => state.audit.read(query),
      strangers: (limit, beforeId) => state.strangers.read(limit, beforeId),
      records: (afterId) => ({
        start: state.audit.start(),
        records: state.audit.page(afterId, auditLimits.charsPerAnswer).map((row) => recordOf(state.id, row)),
      }),
      check: (known, withArchive) => checkAudit(host, parts, known, withArchive),
    },
    makeRoom: (bounds) => (parts.archive ?? state).makeRoom(bounds),
    explain: (question) => explainOnControl(clock, parts.store, documents, config.rootNamespace, question),
    status: () => {
      const health = state.health.value;
      return {
        version: versionFields(host.name),
        startedAtMs: parts.startedAtMs,
        pending: pending(),
        readOnly: health.writable ? null : health.reason,
        auditExports: [
          ...parts.auditExports.status,
          ...(parts.archive === null ? [] : [parts.archive.status]),
        ],
      };
    },
    backup: () => backup(state),
  };
}

/** The log against all heads, and the archive where that is asked for. */
export async function checkAudit(
  host: Host,
  { state, archive, auditHeads, config }: ControlParts,
  known: readonly AuditHead[],
  withArchive: boolean,
): Promise<AuditCheck> {
  const found = await auditHeads.check(known);
  const directory = config.audit.archivePath;
  if (!withArchive || archive === null || directory === null) return found;
  const checked = await checkArchive({
    files: host.files,
    clock: host.clock,
    directory,
    stateId: state.id,
    head: archive.head,
    named: state.audit.read({ action: archiveAction, limit: 1 })[0]?.target ?? null,
    start: state.audit.start(),
    known: [...auditHeads.heads, ...known],
  });
  const reason = found.reason ?? checked.reason;
  return { ...found, intact: reason === null, reason, archive: checked };
}

const administratorsSetting = "administrators";

async function authenticate(
  { identity }: ControlParts,
  credentials: AdminCredentials,
): Promise<Subject | AuthenticationRefusal> {
  try {
    const caller = await identity.authenticator.authenticate(credentials);
    if (caller.kind === "operator") return { ...caller, kind: "token" };
    // A workload's token is lent to a proxy for its traffic; who administers shows a key of their own.
    if (caller.kind === "workload" && caller.via === "token") return "unauthenticated";
    return { kind: "identity", name: caller.id.uri, id: caller.id };
  } catch (thrown) {
    if (!(thrown instanceof GrpcError)) throw thrown;
    return thrown.code === grpcCode.resourceExhausted ? "too_many" : "unauthenticated";
  }
}

/** A page of the state at a time. */
function* nodeEntries(host: Host, parts: ControlParts): Generator<NodeEntry> {
  const describe = describeNodes(host, parts);
  const { registrations } = parts.state;
  for (let page = registrations.page(""); page.length > 0; page = registrations.page(page.at(-1)?.node ?? ""))
    for (const one of page) yield describe(one);
}

/** @returns what tells of one node as it is now. */
function describeNodes(
  host: Host,
  { xds, members }: ControlParts,
): (registration: Registration) => NodeEntry {
  /** By the node's name. */
  const streams = new Map<string, SubscriberStatus>();
  for (const status of xds.status())
    if (status.kind === "node") streams.set(SpiffeId.parse(status.caller)?.serviceAccount ?? "", status);
  const { clock } = host;
  // Refusals are noted by the monotonic clock, and told by the wall's.
  const wallOffsetMs = clock.wallMs() - clock.now();
  const version = versionFields(host.name).version ?? "unknown";
  return (one) =>
    nodeEntry(one, members.isConnected(one.node), streams.get(one.node) ?? null, wallOffsetMs, version);
}

function nodeEntry(
  registration: Registration,
  connected: boolean,
  stream: SubscriberStatus | null,
  wallOffsetMs: number,
  version: string,
): NodeEntry {
  return {
    ...registration,
    connected,
    programVersion: stream?.node.version || null,
    versionSkew: stream === null ? null : skewOf(stream.node, version),
    subscriptions: stream?.types.map((type) => subscriptionEntry(type, wallOffsetMs)) ?? [],
  };
}

function subscriptionEntry(type: SubscriberStatus["types"][number], wallOffsetMs: number): SubscriptionEntry {
  const { typeUrl, sentRevision, acknowledgedRevision, revision, lastRefusal } = type;
  return {
    typeUrl,
    sent: sentRevision?.toString() ?? null,
    acknowledged: acknowledgedRevision?.toString() ?? null,
    queued: Math.max(0, revision - (acknowledgedRevision ?? 0)),
    nacks:
      lastRefusal === null
        ? []
        : [{ atMs: lastRefusal.atMs + wallOffsetMs, resources: [], message: lastRefusal.message }],
  };
}

function revocationSource(host: Host, { state, authority, xds, identity }: ControlParts): RevocationSource {
  return {
    page: (after, limit) => state.revocations.page(after, limit),
    find: ({ kind, value }) => state.revocations.get(kind, value),
    revoke: async (target, reason, byWhom, byNamespace) => {
      // The registration first: from here on nothing new is issued to it, whatever becomes of the list.
      if (target.kind === "node") state.registrations.revoke(target.value, reason, host.clock.wallMs());
      const outcome = await authority.revoke(targetOf(target), reason, byWhom, byNamespace);
      xds.cutStreams((caller) => identity.authenticator.recheck(caller) !== null);
      return outcome;
    },
    lift: (target) => authority.lift(targetOf(target)),
  };
}

function targetOf({ kind, value }: NamedTarget): RevocationTarget {
  switch (kind) {
    case "serial":
      return { kind, serialNumber: value };
    case "identity":
      return { kind, uri: value };
    case "node":
      return { kind, node: value };
    case "operator":
      return { kind, name: value };
    case "token":
      return { kind, id: value };
  }
}

function authoritySource(parts: ControlParts): AuthoritySource {
  const { config, authorityList, authority, rotation, keys } = parts;
  return {
    keyPlace: config.authority.kind,
    list: () => authorityList.entries.map(({ certificate, ...one }) => ({ ...one, ...certificate })),
    rootsPem: () => authority.bundle.value.rootsPem,
    rotation: rotation ?? givenFiles,
    rootKey: keys.rootKey === null ? null : rootKeySource(keys.rootKey, rotation, authority),
  };
}

/** Before the file may go, what needs the key is signed to last: the intermediate and the root's list. */
function rootKeySource(
  rootKey: NonNullable<ControlParts["keys"]["rootKey"]>,
  rotation: ControlParts["rotation"],
  authority: ControlParts["authority"],
): RootKeySource {
  return {
    status: () => rootKey.status(),
    export: async () => {
      const status = await rootKey.export();
      await rotation?.renewNow();
      await authority.publish();
      return status;
    },
    import: () => rootKey.import(),
  };
}

const nothingUnderWay = {
  phase: "idle",
  active: null,
  next: null,
  retiring: [],
  waiting: null,
  problem: null,
} as const;

/** An operator's own CA: replaced by replacing its files. */
const givenFiles: RotationSource = {
  progress: () => nothingUnderWay,
  start: () => {
    const message =
      "the CA is in files. Add the new root to the root file first, and then replace the CA's files";
    return Promise.reject(new MeshError("configuration", "local", message));
  },
  finish: () => ({ done: false, progress: nothingUnderWay }),
  abort: () => ({ done: false, progress: nothingUnderWay }),
};

/** A copy that was being made when the process was killed: it holds everything, and is not asked for any more. */
export async function removeHalfBackups(files: Files, stateDirectory: string): Promise<void> {
  // Of a file system that cannot be written nothing can be removed either; the next start does it.
  for (const { path } of (await files.list(stateDirectory)) ?? [])
    if (/\/backup-\d+\.tmp$/.test(path)) await files.remove(path).catch(() => {});
}

/** The state in pieces, as fast as they are read. */
function backup(state: ControlState): StateCopy {
  const snapshot = state.snapshot();
  let offset = 0;
  const stream = new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        try {
          const piece = await snapshot.read(offset, stateLimits.snapshotChunkBytes);
          offset += piece.length;
          controller.enqueue(piece);
          if (offset < snapshot.bytes) return;
          snapshot.release();
          controller.close();
        } catch (thrown) {
          snapshot.release();
          throw thrown;
        }
      },
      cancel: () => snapshot.release(),
    },
    { highWaterMark: 0 },
  );
  return { bytes: snapshot.bytes, stream };
}

/** A disk that is full is no reason to send nodes away: they go on being served, and `status` says what is refused. */
export function pendingNames(
  { keys, authority, rotation, state }: ControlParts,
  nowMs: number,
): readonly string[] {
  const pending: string[] = [];
  const health = state.health.value;
  // Begun on a disk that could not be written, and another was faster when it could: what is served here is not the mesh any more.
  if (!health.writable && (health.code === "database_locked" || health.code === "database_damaged"))
    pending.push(`state: ${health.reason}`);
  const { active } = keys.view.value;
  const isRevoked =
    active !== null && state.revocations.get("serial", active.certificate.serialNumber) !== null;
  if (isRevoked)
    pending.push(
      `the authority that issues is revoked: ${rotation?.progress().problem ?? "another is made"}`,
    );
  if (active !== null && nowMs < active.certificate.notBeforeMs) {
    const begins = new Date(active.certificate.notBeforeMs).toISOString();
    pending.push(
      `the certificate of the authority is valid from ${begins}: is the clock of this host right?`,
    );
  }
  const { notBeforeMs = 0, notAfterMs: endsMs = Number.POSITIVE_INFINITY } = active?.certificate ?? {};
  // One that lives for hours, as whoever signs it cuts it so, is always near its end.
  const endingMs = Math.min(
    keysLimits.authorityEndingMs,
    (endsMs - notBeforeMs) * keysLimits.authorityEndingShare,
  );
  if (endsMs - nowMs < endingMs) {
    const problem = rotation?.progress().problem ?? null;
    const end = `the certificate of the authority ends at ${new Date(endsMs).toISOString()}`;
    pending.push(problem === null ? end : `${end}: ${problem}`);
  }
  if (active?.ca == null) pending.push(`key of the authority: ${active?.unavailable ?? "there is none"}`);
  if (authority.pendingRevocation !== null) pending.push(`revocation list: ${authority.pendingRevocation}`);
  return pending;
}
