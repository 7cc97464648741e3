/** `fairlead audit verify`: whether the audit log is the one that was written, and the one that hosts know. */
import { chainRow, chainStart } from "../../base/audit_chain.ts";
import { asMeshError } from "../../base/errors.ts";
import type { ControlClientFlags } from "../../config/control/client.ts";
import { type Json, list, member, number, text } from "../admin_json.ts";
import type { CliBindings, ExitCode } from "../bindings.ts";
import type { Style } from "../style.ts";
import { type ControlClient, withControl } from "./client.ts";

export interface AuditVerifyFlags extends ControlClientFlags {
  readonly head?: readonly string[];
  readonly heads?: readonly string[];
  readonly independent?: true;
  readonly archive?: true;
  readonly output?: "text" | "json";
}

interface Head {
  readonly id: number;
  readonly hash: string;
}

/** What was found, in the words of the API. */
interface Found {
  readonly intact: boolean;
  readonly rows: number;
  readonly heads: number;
  readonly older: number;
  readonly head: Head | null;
  readonly reason: string | null;
  readonly archive: Json;
}

/**
 * Has the control plane read its whole audit log and compare it with its signed heads, and with those that were kept elsewhere; or reads all
 * of it here, and believes nothing that the control plane says of itself.
 */
export async function verifyAudit(
  bindings: CliBindings,
  style: Style,
  flags: AuditVerifyFlags,
): Promise<ExitCode> {
  const { terminal } = bindings;
  const fail = (message: string): ExitCode => {
    terminal.error(`${style.red("fairlead:")} ${message}\n`);
    return 2;
  };
  const heads: Head[] = [];
  for (const head of flags.head ?? []) {
    const [, id = "", hash = ""] = headPattern.exec(head) ?? [];
    if (id === "") return fail("--head has to be NUMBER:HASH, as in the control plane's log");
    heads.push({ id: Number(id), hash: hash.toLowerCase() });
  }
  for (const path of flags.heads ?? [])
    try {
      heads.push(...headsOf(JSON.parse(await bindings.readText(path)) as Json));
    } catch (thrown) {
      return fail(
        `${path} cannot be read as heads of an audit log: ${asMeshError(thrown, "io", "local").message}`,
      );
    }
  return withControl(bindings, style, flags, async (client) => {
    const found =
      flags.independent === true
        ? await readHere(client, heads)
        : asFound(
            await client.post("/v1/audit/verify", {
              heads,
              ...(flags.archive === true ? { archive: true } : {}),
            }),
          );
    if (flags.output === "json") terminal.out(`${JSON.stringify(found, null, 2)}\n`);
    else if (found.intact) {
      const older = found.older === 0 ? "" : ` (${found.older} of them older than the log is now)`;
      terminal.out(
        `the audit log is intact: ${found.rows} rows, ${found.heads} heads${older}, the last row ${found.head?.id}:${found.head?.hash}\n`,
      );
      if (found.archive !== null)
        terminal.out(
          `the archive is intact: ${text(found.archive, "segments")} segments, ${text(found.archive, "rows")} rows; the log goes back to row ${text(found.archive, "fromId")}\n`,
        );
      else if (flags.archive === true) terminal.error("the control plane has no archive (--audit-archive)\n");
    } else terminal.error(`${style.red("fairlead:")} the audit log is not intact: ${found.reason ?? "-"}\n`);
    return found.intact ? 0 : 1;
  });
}

const headPattern = /^([0-9]{1,15}):([0-9a-fA-F]{64})$/;

/** A control plane's `audit-heads.json` is a list; a host's `control-audit-heads.json` has those, and what contradicted them. */
function headsOf(file: Json): readonly Head[] {
  const read = (one: Json): Head => {
    const [id, hash] = [member(one, "id"), member(one, "hash")];
    if (typeof id !== "number" || typeof hash !== "string") throw new Error("there are none");
    return { id, hash };
  };
  if (Array.isArray(file)) return file.map(read);
  // Of a conflict the earlier one is the witness; the later one is among the heads.
  return [...list(file, "heads"), ...list(file, "conflicts").map((one) => member(one, "before"))].map(read);
}

function asFound(answer: Json): Found {
  const head: Json = member(answer, "head");
  const reason: Json = member(answer, "reason");
  return {
    intact: member(answer, "intact") === true,
    rows: number(answer, "rows"),
    heads: number(answer, "heads"),
    older: Number(member(answer, "older") ?? 0),
    head: head === null ? null : { id: number(head, "id"), hash: text(head, "hash") },
    reason: typeof reason === "string" ? reason : null,
    archive: member(answer, "archive") ?? null,
  };
}

/** Every row, and the hashes of them made here: rows that lead to a head which a host was sent can only be the ones that were there then. */
async function readHere(client: ControlClient, heads: readonly Head[]): Promise<Found> {
  const known = new Map<number, Set<string>>();
  for (const { id, hash } of heads) known.set(id, (known.get(id) ?? new Set()).add(hash));
  const broken = (reason: string): Found => ({
    intact: false,
    rows: 0,
    heads: heads.length,
    older: 0,
    head: null,
    reason,
    archive: null,
  });
  let last: { id: number; hash: Uint8Array } | null = null;
  let rows = 0;
  let older = 0;
  for (;;) {
    const page: Json = await client.get("/v1/audit/records", { after: String(last?.id ?? 0) });
    if (last === null) {
      const id = number(page, "start", "id");
      last = { id, hash: id === 0 ? chainStart : Uint8Array.fromHex(text(page, "start", "hash")) };
      older = heads.filter((head) => head.id < id).length;
      if (!fits(known, last)) return broken(`row ${id} is not the one that the signed head names`);
    }
    const records = list(page, "records");
    for (const record of records) {
      const row = rowOf(record);
      if (row.id !== last.id + 1) return broken(`row ${last.id + 1} is missing`);
      const salt: Json = member(record, "salt");
      const hash = chainRow(last.hash, row, typeof salt === "string" ? Uint8Array.fromHex(salt) : null);
      last = { id: row.id, hash };
      rows++;
      if (!fits(known, last)) return broken(`row ${row.id} is not the one that the signed head names`);
    }
    if (records.length === 0) break;
  }
  const { id, hash } = last;
  const beyond = heads.find((head) => head.id > id);
  if (beyond !== undefined) return broken(`rows ${id + 1} to ${beyond.id} are cut off`);
  return {
    intact: true,
    rows,
    heads: heads.length,
    older,
    head: { id, hash: hash.toHex() },
    reason: null,
    archive: null,
  };
}

function fits(
  known: ReadonlyMap<number, ReadonlySet<string>>,
  { id, hash }: { readonly id: number; readonly hash: Uint8Array },
): boolean {
  const wanted = known.get(id);
  return wanted === undefined || (wanted.size === 1 && wanted.has(hash.toHex()));
}

function rowOf(record: Json) {
  const word = (name: string): string => {
    const value: Json = member(record, name);
    return typeof value === "string" ? value : "";
  };
  const wordOrNull = (name: string): string | null => (member(record, name) === null ? null : word(name));
  return {
    id: number(record, "id"),
    atMs: number(record, "atMs"),
    actor: word("actor"),
    action: word("action"),
    target: word("target"),
    namespace: wordOrNull("namespace"),
    outcome: word("outcome"),
    detail: word("detail"),
    before: wordOrNull("before"),
    after: wordOrNull("after"),
  };
}
