/** The administrators in force: those given in files, and those that were applied. */
import { MeshError } from "../../base/errors.ts";
import { controlAdminLimits } from "../../base/limits/control.ts";
import { type DocumentError, formatLocation } from "../../mesh/location.ts";
import { type Administrator, hasSubject, parseAdministrators } from "./administrator.ts";
import { type Grant, isAllowed, meshScope } from "./roles.ts";
import type { AdministratorSource, DocumentInput, Subject } from "./sources.ts";

/** @throws MeshError `configuration`, blame local, with the places of all that is wrong. */
export function readGivenAdministrators(
  inputs: readonly DocumentInput[],
  rootNamespace: string,
): readonly Administrator[] {
  const { administrators, errors, others } = parseAdministrators(inputs, rootNamespace);
  const wrong = errors.map(
    ({ location, resource, message }) =>
      `${formatLocation(location)}: ${resource === null ? "" : `${resource}: `}${message}`,
  );
  // A role must not be missing because it is in a document that is something else.
  if (others > 0)
    for (const input of inputs)
      if (parseAdministrators([input], rootNamespace).others > 0)
        wrong.push(`${input.path}: it has a document that is not an Administrator, or is not YAML`);
  if (wrong.length > 0) throw new MeshError("configuration", "local", wrong.join("; "));
  return administrators;
}

export class Administrators {
  readonly #source: AdministratorSource;
  readonly #rootNamespace: string;
  #givenInputs: readonly DocumentInput[] = [];
  #given: readonly Administrator[] = [];
  #text: string | null = null;
  #applied: readonly Administrator[] = [];

  /** @throws MeshError `configuration`, blame local, with the places of all that is wrong with the given ones. */
  constructor(source: AdministratorSource, rootNamespace: string) {
    this.#source = source;
    this.#rootNamespace = rootNamespace;
    this.#givenInputs = source.given();
    this.#given = readGivenAdministrators(this.#givenInputs, rootNamespace);
  }

  /** In force whatever is applied: who runs the control plane cannot be locked out of it. */
  get given(): readonly Administrator[] {
    const all = this.#allGiven;
    return this.#source.isFirstRetired() ? all.filter(({ name }) => name !== firstAdministratorName) : all;
  }

  get #allGiven(): readonly Administrator[] {
    const inputs = this.#source.given();
    if (inputs !== this.#givenInputs) {
      this.#given = readGivenAdministrators(inputs, this.#rootNamespace);
      this.#givenInputs = inputs;
    }
    return this.#given;
  }

  get applied(): readonly Administrator[] {
    const text = this.#source.read();
    if (text !== this.#text) {
      this.#text = text;
      // Written by us alone. A document that this version does not take gives no role.
      this.#applied =
        text === null
          ? []
          : parseAdministrators([{ path: "administrators", text }], this.#rootNamespace).administrators;
    }
    return this.#applied;
  }

  grants(subject: Subject): readonly Grant[] {
    return [...this.given, ...this.applied].filter((one) => hasSubject(one, subject)).map(toGrant);
  }

  find(name: string): Administrator | null {
    return this.applied.find((one) => one.name === name) ?? null;
  }

  /** The applied ones with these put and those removed. */
  changed(put: readonly Administrator[], remove: readonly string[]): readonly Administrator[] {
    const gone = new Set([...remove, ...put.map(({ name }) => name)]);
    return [...this.applied.filter(({ name }) => !gone.has(name)), ...put].sort((a, b) =>
      a.name < b.name ? -1 : 1,
    );
  }

  /**
   * Why `next` may not be put in force by this subject, or null. Who is asking stays a mesh administrator: so there is always one left that
   * is no mere name in a document, since somebody has just shown that they are it.
   */
  refuse(next: readonly Administrator[], subject: Subject): string | null {
    const grants = [...this.given, ...next].filter((one) => hasSubject(one, subject)).map(toGrant);
    if (!isAllowed(grants, "administrators.write", meshScope))
      return "you would no longer be a mesh administrator; ask another mesh administrator to make this change";
    if (next.length > controlAdminLimits.maxAdministrators)
      return `there would be more than ${controlAdminLimits.maxAdministrators} administrators`;
    return writeAll(next).length > controlAdminLimits.maxAdministratorBytes
      ? `administrators would take more than ${controlAdminLimits.maxAdministratorBytes} bytes`
      : null;
  }

  /** Why this subject may not take the first administrator's role away, or null: it stays a mesh administrator without it, shown by asking. */
  refuseRetiring(subject: Subject): string | null {
    const others = [...this.given, ...this.applied].filter(({ name }) => name !== firstAdministratorName);
    const grants = others.filter((one) => hasSubject(one, subject)).map(toGrant);
    return isAllowed(grants, "administrators.write", meshScope)
      ? null
      : "the first administrator cannot retire itself; ask another mesh administrator to do it";
  }

  retireFirst(): void {
    this.#source.retireFirst();
  }

  /** A name of a given one would hide it or be hidden by it. */
  clashes(put: readonly Administrator[]): readonly DocumentError[] {
    return put
      .filter(({ name }) => this.#allGiven.some((one) => one.name === name))
      .map(({ name }) => ({
        location: { file: "administrators", line: 1, column: 1 },
        resource: `Administrator ${name}`,
        message: "comes from a file of the control plane (--administrators); choose another name",
      }));
  }

  write(next: readonly Administrator[]): void {
    this.#source.write(writeAll(next));
  }
}

/** Of the shared administrator that each control plane makes at its first start. */
export const firstAdministratorName = "first";

function writeAll(administrators: readonly Administrator[]): string {
  return administrators.map(({ text }) => `---\n${text.replace(/^---[^\n]*\n/, "").trimEnd()}\n`).join("");
}

function toGrant({ role, namespaces }: Administrator): Grant {
  return { role, namespaces };
}
