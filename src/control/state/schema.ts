/** The tables, as the numbered steps that make them. A step that was released never changes; a change is a new step. */
import type { Migration } from "./migrations.ts";

const credentials = `
CREATE TABLE settings (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
  id TEXT PRIMARY KEY,
  secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
  binding_kind TEXT NOT NULL CHECK (binding_kind IN ('node', 'workload', 'group')),
  binding_name TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL,
  expires_at_ms INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  replace_joined INTEGER NOT NULL CHECK (replace_joined IN (0, 1)),
  used_at_ms INTEGER,
  used_by TEXT,
  revoked_at_ms INTEGER
) STRICT;

CREATE TABLE registrations (
  node TEXT PRIMARY KEY,
  binding_kind TEXT NOT NULL CHECK (binding_kind IN ('node', 'workload', 'group')),
  binding_name TEXT NOT NULL,
  addresses TEXT NOT NULL,
  network TEXT NOT NULL,
  labels TEXT NOT NULL,
  joined_at_ms INTEGER NOT NULL,
  last_seen_ms INTEGER NOT NULL,
  token_id TEXT,
  revoked_at_ms INTEGER,
  revoke_reason TEXT
) STRICT;
CREATE INDEX registrations_by_binding ON registrations (binding_kind, binding_name);
CREATE INDEX registrations_by_token ON registrations (token_id);

CREATE TABLE certificates (
  serial TEXT NOT NULL,
  issuer_key TEXT NOT NULL,
  identity TEXT NOT NULL,
  not_before_ms INTEGER NOT NULL,
  not_after_ms INTEGER NOT NULL,
  requested_by TEXT NOT NULL,
  issued_at_ms INTEGER NOT NULL,
  UNIQUE (serial, issuer_key)
) STRICT;
CREATE INDEX certificates_by_identity ON certificates (identity, issued_at_ms);
CREATE INDEX certificates_by_requester ON certificates (requested_by, issued_at_ms);
CREATE INDEX certificates_by_time ON certificates (issued_at_ms, serial);
CREATE INDEX certificates_by_end ON certificates (not_after_ms);

CREATE TABLE revocations (
  kind TEXT NOT NULL CHECK (kind IN ('serial', 'identity', 'node')),
  value TEXT NOT NULL,
  issuer_key TEXT NOT NULL,
  reason TEXT NOT NULL,
  by_whom TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  expires_at_ms INTEGER,
  UNIQUE (kind, value, issuer_key)
) STRICT;

CREATE TABLE authorities (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('root', 'intermediate')),
  certificate_pem TEXT NOT NULL,
  chain_pem TEXT NOT NULL,
  sealed_key BLOB,
  state TEXT NOT NULL CHECK (state IN ('active', 'next', 'retiring', 'retired')),
  created_at_ms INTEGER NOT NULL
) STRICT;
`;

/** Rows are added at the end and taken away at the start, up to where `audit_start` says the chain begins. */
const audit = `
CREATE TABLE audit (
  id INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  target TEXT NOT NULL,
  namespace TEXT,
  outcome TEXT NOT NULL CHECK (outcome IN ('ok', 'refused', 'failed')),
  detail TEXT NOT NULL,
  before TEXT,
  after TEXT,
  hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE INDEX audit_by_namespace ON audit (namespace, id);
CREATE INDEX audit_by_actor ON audit (actor, id);
CREATE INDEX audit_by_action ON audit (action, id);

CREATE TABLE audit_start (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  id INTEGER NOT NULL,
  hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
INSERT INTO audit_start (one, id, hash) VALUES (1, 0, zeroblob(32));

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is not changed'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
WHEN OLD.id > (SELECT id FROM audit_start)
BEGIN SELECT RAISE(ABORT, 'the audit log is not deleted'); END;
CREATE TRIGGER audit_grows_at_its_end BEFORE INSERT ON audit
WHEN NEW.id != 1 + ifnull((SELECT max(id) FROM audit), (SELECT id FROM audit_start))
BEGIN SELECT RAISE(ABORT, 'the audit log grows at its end'); END;
CREATE TRIGGER audit_start_goes_forward BEFORE UPDATE ON audit_start
WHEN NEW.id < OLD.id
BEGIN SELECT RAISE(ABORT, 'the audit log does not begin earlier than it did'); END;
CREATE TRIGGER audit_start_stays BEFORE DELETE ON audit_start
BEGIN SELECT RAISE(ABORT, 'the audit log has a beginning'); END;
`;

/** Texts by their hash; what each version changed; and the set as of now. */
const documents = `
CREATE TABLE document_texts (
  hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
  text TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE document_versions (
  version INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL CHECK (action IN ('apply', 'delete', 'rollback')),
  detail TEXT NOT NULL,
  changes INTEGER NOT NULL
) STRICT;

CREATE TABLE document_changes (
  version INTEGER NOT NULL,
  key TEXT NOT NULL,
  namespace TEXT NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  source TEXT NOT NULL,
  line INTEGER NOT NULL,
  text_hash BLOB REFERENCES document_texts (hash),
  PRIMARY KEY (key, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX document_changes_by_version ON document_changes (version);
CREATE INDEX document_changes_by_text ON document_changes (text_hash);
`;

/** How many certificates of a requester are in force is asked before each one that is issued. */
const requesters = `
CREATE INDEX certificates_by_requester_end ON certificates (requested_by, not_after_ms);
`;

/** When each document first came, by the control plane's clock: who has what is decided by it, and an author cannot write it. */
const documentCreation = `
ALTER TABLE document_changes ADD COLUMN created_ms INTEGER NOT NULL DEFAULT 0;
UPDATE document_changes SET created_ms = ifnull((
  SELECT min(ifnull(made.at_ms, 0)) FROM document_changes AS first
  LEFT JOIN document_versions AS made ON made.version = first.version
  WHERE first.key = document_changes.key), 0);
`;

/**
 * By whose right a trust was taken or a token made: a namespace's, or "" for the mesh's. What was there is of the mesh where that is
 * the stricter reading.
 */
const rights = `
ALTER TABLE revocations ADD COLUMN by_namespace TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN by_namespace TEXT NOT NULL DEFAULT '';
UPDATE tokens SET by_namespace = substr(binding_name, 1, instr(binding_name, '/') - 1) WHERE binding_kind <> 'node';
`;

/** What is kept in bytes, counted as it comes and goes: audit rows, those of each tenant, and texts of documents. */
const bytesOfAudit = (row: string): string =>
  `(200 + length(CAST(${row}.detail AS BLOB)) + ifnull(length(CAST(${row}.before AS BLOB)), 0) + ifnull(length(CAST(${row}.after AS BLOB)), 0))`;
const usage = `
CREATE TABLE usage (
  what TEXT PRIMARY KEY,
  bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO usage (what, bytes) SELECT 'documents', ifnull(sum(length(CAST(text AS BLOB))), 0) FROM document_texts;
INSERT INTO usage (what, bytes) SELECT 'audit', ifnull(sum(${bytesOfAudit("audit")}), 0) FROM audit;
INSERT INTO usage (what, bytes) SELECT 'audit/' || namespace, sum(${bytesOfAudit("audit")}) FROM audit WHERE namespace IS NOT NULL GROUP BY namespace;

CREATE TRIGGER document_texts_come AFTER INSERT ON document_texts
BEGIN UPDATE usage SET bytes = bytes + length(CAST(NEW.text AS BLOB)) WHERE what = 'documents'; END;
CREATE TRIGGER document_texts_go AFTER DELETE ON document_texts
BEGIN UPDATE usage SET bytes = bytes - length(CAST(OLD.text AS BLOB)) WHERE what = 'documents'; END;
CREATE TRIGGER audit_comes AFTER INSERT ON audit
BEGIN
  UPDATE usage SET bytes = bytes + ${bytesOfAudit("NEW")} WHERE what = 'audit';
  INSERT INTO usage (what, bytes) SELECT 'audit/' || NEW.namespace, ${bytesOfAudit("NEW")} WHERE NEW.namespace IS NOT NULL
    ON CONFLICT (what) DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER audit_goes AFTER DELETE ON audit
BEGIN
  UPDATE usage SET bytes = bytes - ${bytesOfAudit("OLD")} WHERE what = 'audit';
  UPDATE usage SET bytes = bytes - ${bytesOfAudit("OLD")} WHERE what = 'audit/' || OLD.namespace;
  DELETE FROM usage WHERE what = 'audit/' || OLD.namespace AND bytes <= 0;
END;
`;

/** Tokens and their bearers can be revoked, too: a CHECK is changed by making the table again. */
const revokedTokens = `
CREATE TABLE revocations_of_all_kinds (
  kind TEXT NOT NULL CHECK (kind IN ('serial', 'identity', 'node', 'operator', 'token')),
  value TEXT NOT NULL,
  issuer_key TEXT NOT NULL,
  reason TEXT NOT NULL,
  by_whom TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  expires_at_ms INTEGER,
  by_namespace TEXT NOT NULL,
  UNIQUE (kind, value, issuer_key)
) STRICT;
INSERT INTO revocations_of_all_kinds (kind, value, issuer_key, reason, by_whom, at_ms, expires_at_ms, by_namespace)
  SELECT kind, value, issuer_key, reason, by_whom, at_ms, expires_at_ms, by_namespace FROM revocations ORDER BY rowid;
DROP TABLE revocations;
ALTER TABLE revocations_of_all_kinds RENAME TO revocations;
`;

/** Each tenant's share of revocations is counted with each one. */
const shares = `
CREATE INDEX revocations_by_right ON revocations (by_namespace);
`;

/** A host renews by the certificate that it has now, or by the one it was given last: a copy of either is noticed. */
const renewals = `
ALTER TABLE registrations ADD COLUMN current_serial TEXT;
ALTER TABLE registrations ADD COLUMN pending_serial TEXT;
`;

/** Refusals of callers that are not known: a ring of its own, so that strangers age out nothing but each other. */
const strangers = `
CREATE TABLE strangers (
  id INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  target TEXT NOT NULL,
  detail TEXT NOT NULL
) STRICT;
`;

/** From here on a row's hash is over a salted digest of it. The salts come from a key, which who may read the log is told. */
const digests = `
CREATE TABLE audit_digests (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  after_id INTEGER NOT NULL,
  salt_key BLOB NOT NULL CHECK (length(salt_key) = 32)
) STRICT;
INSERT INTO audit_digests (one, after_id, salt_key)
  SELECT 1, ifnull((SELECT max(id) FROM audit), (SELECT id FROM audit_start)), randomblob(32);
CREATE TRIGGER audit_digests_are_not_changed BEFORE UPDATE ON audit_digests
BEGIN SELECT RAISE(ABORT, 'the salts of the audit log are not changed'); END;
CREATE TRIGGER audit_digests_stay BEFORE DELETE ON audit_digests
BEGIN SELECT RAISE(ABORT, 'the salts of the audit log stay'); END;
`;

/** A version that is being written, and one that is being forgotten: both in pieces, and gone on with after a restart. */
const versionsInPieces = `
CREATE TABLE document_staging (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  version INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL CHECK (action IN ('apply', 'delete', 'rollback')),
  detail TEXT NOT NULL,
  forced INTEGER NOT NULL CHECK (forced IN (0, 1)),
  published INTEGER NOT NULL CHECK (published IN (0, 1)),
  audited_key TEXT NOT NULL
) STRICT;

CREATE TABLE document_forgetting (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  version INTEGER NOT NULL,
  step TEXT NOT NULL CHECK (step IN ('replaced', 'removed')),
  key TEXT NOT NULL
) STRICT;
`;

export const migrations: readonly Migration[] = [
  { name: "credentials", sql: credentials },
  { name: "audit log", sql: audit },
  { name: "mesh documents", sql: documents },
  { name: "certificates in force by requester", sql: requesters },
  { name: "creation of documents", sql: documentCreation },
  { name: "rights behind revocations and tokens", sql: rights },
  { name: "usage in bytes", sql: usage },
  { name: "refusals of strangers", sql: strangers },
  { name: "revocations of tokens", sql: revokedTokens },
  { name: "revocations by right", sql: shares },
  { name: "serial numbers of hosts", sql: renewals },
  { name: "digests of audit rows", sql: digests },
  { name: "versions of documents in pieces", sql: versionsInPieces },
];
