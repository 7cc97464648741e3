/** The CA with what `AuthoritySource` adds, in memory: serial numbers are remembered, revoking is at once. */
import { MeshError } from "../../../base/errors.ts";
import { WatchSource } from "../../../base/watch.ts";
import { decodePemLabel } from "../../../pki/der/pem.ts";
import type { CertificateAuthority, SigningResponse } from "../../../pki/issue/ca.ts";
import type { Issuer } from "../../../pki/issue/issuer.ts";
import { parseCertificate } from "../../../pki/x509/certificate.ts";
import type {
  IssuingRequest,
  RevocationOutcome,
  RevocationTarget,
  ServingIssuer,
} from "../../keys/authority_source.ts";
import type { MemoryState } from "./memory_state.ts";

export class MemoryAuthority {
  readonly ca: CertificateAuthority;
  readonly issuer: Issuer;
  readonly state: MemoryState;
  readonly bundle = new WatchSource(0);
  readonly issued: {
    readonly serial: string;
    readonly uri: string;
    readonly requestedBy: string;
    readonly lifetimeMs: number;
  }[] = [];
  /** Awaited before each signature: a far away key. */
  before: () => Promise<void> = async () => {};
  /** Changes each answer: a signer that is not ours. */
  tamper: (answer: SigningResponse) => SigningResponse = (answer) => answer;

  constructor(ca: CertificateAuthority, issuer: Issuer, state: MemoryState) {
    this.ca = ca;
    this.issuer = issuer;
    this.state = state;
  }

  supersede(node: string, keptSerialNumber: string): void {
    const { revoked } = this.state;
    for (const { serial, requestedBy } of this.issued)
      if (requestedBy === node && serial !== keptSerialNumber) revoked.serials.add(serial);
    revoked.nodes.delete(node);
  }

  async publish(): Promise<void> {}

  async sign(request: IssuingRequest): Promise<SigningResponse> {
    await this.before();
    const { requestedBy = "", id, lifetimeMs, replaces = false } = request;
    if ((!replaces && this.state.revoked.nodes.has(requestedBy)) || this.state.revoked.identities.has(id.uri))
      throw new MeshError("certificate_revoked", "policy", `${id} is revoked`);
    const answer = await this.ca.sign(request);
    const [der] = decodePemLabel(answer.chainPem.join(""), "CERTIFICATE");
    const { serialNumber, notBeforeMs } = parseCertificate(der ?? new Uint8Array());
    this.state.requesters.set(serialNumber, { requestedBy, notBeforeMs });
    this.issued.push({ serial: serialNumber, uri: id.uri, requestedBy, lifetimeMs });
    return this.tamper(answer);
  }

  serving(): ServingIssuer {
    const { rootsPem } = this.ca;
    return { issuer: this.issuer, chainPem: [], rootPem: rootsPem, rootsPem };
  }

  rootPem(): string {
    return this.ca.rootsPem;
  }

  async revoke(target: RevocationTarget): Promise<RevocationOutcome> {
    const { revoked } = this.state;
    if (target.kind === "identity") revoked.identities.add(target.uri);
    if (target.kind === "node") revoked.nodes.add(target.node);
    if (target.kind === "operator") revoked.operators.add(target.name);
    if (target.kind === "token") revoked.tokens.add(target.id);
    const isOf = (one: (typeof this.issued)[number]): boolean =>
      (target.kind === "serial" && one.serial === target.serialNumber) ||
      (target.kind === "identity" && one.uri === target.uri) ||
      (target.kind === "node" && one.requestedBy === target.node);
    const serialNumbers = this.issued.filter(isOf).map((one) => one.serial);
    for (const serial of serialNumbers) revoked.serials.add(serial);
    return { serialNumbers, pending: null };
  }

  async lift(target: RevocationTarget): Promise<boolean> {
    const { identities, nodes } = this.state.revoked;
    if (target.kind === "identity") return identities.delete(target.uri);
    return target.kind === "node" && nodes.delete(target.node);
  }
}
