/**
 * Certificates from a control plane (`CreateCertificate`, ztunnel `proto/citadel.proto`): istiod's or ours, by the same
 * call.
 */
import { MeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import type { Logger } from "../../base/log.ts";
import type { Clock } from "../../host/host.ts";
import { decodePemLabel } from "../../pki/der/pem.ts";
import type { CertificateSigner, SigningRequest, SigningResponse } from "../../pki/issue/ca.ts";
import { parseCertificate } from "../../pki/x509/certificate.ts";
import { istioCertificate } from "../../wire/grpc/services.ts";
import { IstioCertificateRequestSchema } from "../../wire/messages/istio_citadel.gen.ts";
import { newMessage } from "../../wire/messages/message.ts";
import { clockSkewMs, describeSkew } from "./clock_skew.ts";
import { describeFailure, type UnaryCaller } from "./unary_caller.ts";

export interface CaClientOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly caller: UnaryCaller;
  /** Whether the credential is a node's, which asks for others: then the identity goes with the request, as ztunnel sends it. */
  readonly impersonates: boolean;
}

export class CaClient implements CertificateSigner {
  readonly #options: CaClientOptions;
  #skewMs: number | null = null;

  constructor(options: CaClientOptions) {
    this.#options = options;
  }

  /** How far this host's clock is ahead of the CA's; null when it is near enough, or not known. */
  get skewMs(): number | null {
    return this.#skewMs;
  }

  async sign({ csrPem, id, lifetimeMs }: SigningRequest): Promise<SigningResponse> {
    const { caller, clock, impersonates } = this.#options;
    const request = newMessage(IstioCertificateRequestSchema, {
      csr: csrPem,
      validityDuration: BigInt(Math.round(lifetimeMs / 1000)),
      ...(impersonates ? { metadata: { ImpersonatedIdentity: id.uri } } : {}),
    });
    const askedMs = clock.wallMs();
    let certChain: readonly string[];
    try {
      ({ certChain } = await caller.unary(istioCertificate.createCertificate, request));
    } catch (thrown) {
      throw describeFailure(thrown, `a certificate for ${id}`, impersonates ? adviceForNode : adviceForToken);
    }
    const answer = splitChain(certChain);
    this.#lookAtClock(answer.chainPem[0] ?? "", askedMs);
    return answer;
  }

  #lookAtClock(leafPem: string, askedMs: number): void {
    const { clock, logger } = this.#options;
    const [der] = decodePemLabel(leafPem, "CERTIFICATE");
    if (der === undefined) return;
    const before = this.#skewMs;
    this.#skewMs = clockSkewMs(parseCertificate(der).notBeforeMs, askedMs, clock.wallMs());
    if (this.#skewMs !== null && before === null) logger.log("error", "pki", describeSkew(this.#skewMs));
    if (this.#skewMs === null && before !== null)
      logger.log("info", "pki", "this host's clock agrees with the control plane's again");
  }
}

const adviceForNode =
  ". Check that a document places the workload on this node, and that the node is not revoked. The control plane's audit log has the reason";
const adviceForToken =
  ". Check that the token is of this service account, not expired, and has the audience that the server wants";

/**
 * Leaf, then intermediates one an item, last the bundle of roots (ztunnel `fetch_certificate` of
 * `src/identity/caclient.rs`).
 */
function splitChain(certChain: readonly string[]): SigningResponse {
  if (certChain.length < 2)
    throw new MeshError("control_refused", "upstream", "the control plane sent a certificate without roots");
  if (certChain.length > pkiLimits.maxPathCertificates)
    throw new MeshError("control_refused", "upstream", "the control plane sent too long a chain");
  return { chainPem: certChain.slice(0, -1), rootsPem: certChain[certChain.length - 1] ?? "" };
}
