/**
 * How a host becomes a node, once, by a token (`fairlead.v1.JoinService/Join`). Whoever joins gets nothing before its token is
 * marked as used, its registration is kept and the audit log has it, all of it or none.
 */
import type { IpAddress, SocketAddress } from "../../base/ip.ts";
import { KeyedGate } from "../../base/keyed_gate.ts";
import { identityLimits } from "../../base/limits/control.ts";
import { describeVersionSkew, versionSkew } from "../../base/version_skew.ts";
import type { Clock } from "../../host/host.ts";
import { nodeNamespace, SpiffeId } from "../../mesh/identity.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { type GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import type { JoinRequest, JoinResponse } from "../../wire/messages/fairlead.gen.ts";
import type { UnaryCall } from "../identity/call_credentials.ts";
import type { MeshFacts } from "../identity/entitlement.ts";
import type { IdentityState } from "../identity/identity_state.ts";
import { hashSecret, type JoinToken } from "../identity/join_token.ts";
import type { RateLimits } from "../identity/rate_limits.ts";
import type { Refusals } from "../identity/refusals.ts";
import type { AuthoritySource } from "../keys/authority_source.ts";
import type { JoinClaims } from "../records/join_claims.ts";
import type { Registration } from "../records/registrations.ts";
import type { StoredToken, TokenRefusal } from "../records/tokens.ts";
import type { Issuance, Issued } from "./issuance.ts";
import { type ParsedJoin, parseJoin } from "./join_request.ts";
import { chooseNodeName, type NameRefusal, refuseRevokedName, refuseTakenName } from "./node_name.ts";
import { bindingNamespace, joinResponse, type NodeSettings } from "./node_settings.ts";
import { describeSigningFailure } from "./signing_failure.ts";

export interface JoinServiceOptions {
  readonly clock: Clock;
  readonly provider: CryptoProvider;
  readonly state: IdentityState;
  readonly issuance: Issuance;
  /** Takes back what a host had that is replaced. */
  readonly authority: Pick<AuthoritySource, "supersede" | "publish">;
  readonly mesh: MeshFacts;
  readonly rates: RateLimits;
  readonly refusals: Refusals;
  /** One at a time for each node, joins and renewals together. */
  readonly nodes: KeyedGate;
  readonly settings: NodeSettings;
  readonly claims: JoinClaims;
}

interface Joining {
  readonly join: ParsedJoin;
  readonly token: StoredToken;
  readonly secretHash: Uint8Array;
  readonly node: string;
  readonly remote: IpAddress;
}

export class JoinService {
  readonly #options: JoinServiceOptions;
  /** By token, and then by node: two calls never wait for each other in a circle. */
  readonly #tokens = new KeyedGate();
  #underWay = 0;

  constructor(options: JoinServiceOptions) {
    this.#options = options;
  }

  /**
   * The handler of `Join`. A call that fails before its last step leaves the token as it was, to be tried again.
   *
   * @throws GrpcError `unauthenticated` for a token that is not good, whatever is wrong with it; `invalidArgument` for a bad
   *   request; with a good token `permissionDenied` and `alreadyExists` for a name it cannot have, `failedPrecondition` for a
   *   version that is too far from this one's; `resourceExhausted`,
   *   `unavailable`, `internal`.
   */
  readonly join = async (request: JoinRequest, call: UnaryCall): Promise<JoinResponse> => {
    const { remote } = call.peer;
    const join = parseJoin(request, remote.ip);
    if (typeof join === "string") {
      this.#charge(remote);
      throw this.#refuse(grpcCode.invalidArgument, join, "request", join, remote.ip.text, "");
    }
    const { token } = join;
    // Who shows a token that is not good waits for nothing, takes no place and costs a hash.
    const shown = token === null ? null : await this.#check(token);
    if (shown === null || typeof shown.stored === "string") {
      this.#charge(remote);
      throw this.#badToken(shown === null ? "malformed" : String(shown.stored), token, remote.ip);
    }
    call.peer.proven?.();
    if (this.#underWay >= identityLimits.maxJoinsUnderWay) throw this.#exhausted(remote.ip.text, "under_way");
    this.#underWay++;
    try {
      return await this.#tokens.run(shown.stored.id, () =>
        this.#redeemable(join, shown.secretHash, remote.ip),
      );
    } finally {
      this.#underWay--;
    }
  };

  async #check(token: JoinToken): Promise<{ stored: StoredToken | TokenRefusal; secretHash: Uint8Array }> {
    const { state, clock, provider } = this.#options;
    const secretHash = await hashSecret(token.secret, provider);
    return { stored: state.tokens.check(token.id, secretHash, clock.wallMs()), secretHash };
  }

  /** @throws GrpcError `resourceExhausted` instead of the reason, past the address's rate. */
  #charge(remote: SocketAddress): void {
    if (!this.#options.rates.chargeAddress(remote)) throw this.#exhausted(remote.ip.text, "address_rate");
  }

  async #redeemable(join: ParsedJoin, secretHash: Uint8Array, remote: IpAddress): Promise<JoinResponse> {
    const { state, clock, mesh, rates } = this.#options;
    const { token } = join;
    if (token === null) throw this.#badToken("malformed", null, remote);
    // Another call with the same token may have been first.
    const stored = state.tokens.check(token.id, secretHash, clock.wallMs());
    if (typeof stored === "string") throw this.#badToken(stored, token, remote);
    const actor = actorOf(stored);
    const exhausted = rates.admitCaller(actor)
      ? rates.admitSigning(bindingNamespace(stored.binding))
      : "caller";
    if (exhausted !== null) throw this.#exhausted(actor, `${exhausted}_rate`);
    this.#checkVersion(join, actor);
    const node = chooseNodeName(stored, join.nodeName, mesh);
    if (typeof node !== "string") throw this.#badName(node, stored);
    return await this.#options.nodes.run(node, () =>
      this.#admit({ join, token: stored, secretHash, node, remote }),
    );
  }

  /** Before the token is spent: it is good for the same host once that was updated. */
  #checkVersion({ version }: ParsedJoin, actor: string): void {
    const own = this.#options.settings.version;
    const apart = versionSkew(own, version);
    if (apart === null) return;
    const message = describeVersionSkew(version, own, apart);
    throw this.#refuse(grpcCode.failedPrecondition, message, "version", message, actor, "");
  }

  async #admit(joining: Joining): Promise<JoinResponse> {
    const { state, clock, settings } = this.#options;
    const { node, token, join } = joining;
    const existing = state.registrations.byNode(node);
    const taken =
      refuseTakenName(node, existing, token) ??
      refuseRevokedName(node, state.revocations.byWhoseRight("node", node), token);
    if (taken !== null) throw this.#badName(taken, token);
    const network = join.network ?? settings.network;
    const addresses = await this.#addresses(joining, network);
    const joinedAtMs = clock.wallMs();
    const issued = await this.#certify(joining, existing);
    const registration: Registration = {
      node,
      binding: token.binding,
      addresses,
      network,
      labels: join.labels,
      joinedAtMs,
      lastSeenMs: joinedAtMs,
      tokenId: token.id,
      revokedAtMs: null,
      revokeReason: null,
      currentSerial: issued.serialNumber,
      pendingSerial: null,
    };
    this.#keep(joining, registration, existing, issued);
    if (isReplacement(existing, token)) await this.#options.authority.publish();
    return joinResponse(settings, registration, issued.chain);
  }

  /**
   * Where it can be reached, as far as that is believed. What a member of a group says becomes a workload of the mesh: one without an
   * address that it may have does not join.
   */
  async #addresses({ join, token, node, remote }: Joining, network: string): Promise<readonly string[]> {
    const namespace = bindingNamespace(token.binding);
    // Tokens for nodes are made by the mesh's administrators, whose hosts say what they like.
    if (namespace === null) return join.addresses;
    const host = { node, namespace, network, remote, addresses: join.addresses };
    const { nameRefusal, addresses, refusals } = await this.#options.claims.check(host);
    if (nameRefusal !== null) throw this.#badName({ code: "name_not_allowed", message: nameRefusal }, token);
    const [first] = refusals;
    if (token.binding.kind === "group" && addresses.length === 0 && first !== undefined)
      throw this.#badName({ code: "address_not_allowed", message: first }, token);
    return addresses;
  }

  async #certify(joining: Joining, existing: Registration | null): Promise<Issued> {
    const { issuance, settings, refusals } = this.#options;
    const { node, token, join } = joining;
    const id = new SpiffeId(settings.trustDomain, nodeNamespace, node);
    const actor = actorOf(token);
    try {
      const proven = await issuance.prove(join.csrPem);
      const request = {
        csrPem: join.csrPem,
        proven,
        id,
        lifetimeMs: settings.nodeLifetimeMs,
        requestedBy: node,
        replaces: isReplacement(existing, token),
      };
      return await issuance.issue("node", request);
    } catch (error) {
      throw describeSigningFailure(error, { action: "node.join", actor, target: node }, refusals);
    }
  }

  #keep(
    joining: Joining,
    registration: Registration,
    existing: Registration | null,
    { serialNumber }: Issued,
  ): void {
    const { state, clock, refusals, authority } = this.#options;
    const { token, secretHash, node, remote } = joining;
    try {
      state.transaction(() => {
        const redeemed = state.tokens.redeem(token.id, secretHash, clock.wallMs(), node);
        // Revoked, or gone past its end, while the certificate was made.
        if (typeof redeemed === "string") throw this.#badToken(redeemed, token, remote);
        // All that the earlier host has asked for, so that it cannot come back by an old certificate. It has them until there is
        // a successor: a signer that is away takes nothing from anybody.
        if (isReplacement(existing, token))
          authority.supersede(node, serialNumber, {
            reason: `replaced by the host of join token ${token.id}`,
            byWhom: actorOf(token),
            byNamespace: token.byNamespace,
          });
        state.registrations.put(registration);
        state.audit.append({
          atMs: clock.wallMs(),
          actor: actorOf(token),
          action: "node.join",
          target: node,
          namespace: bindingNamespace(token.binding),
          outcome: "ok",
          detail: `from ${remote.text}`,
          before: existing === null ? null : JSON.stringify(existing),
          after: JSON.stringify(registration),
        });
      });
    } catch (error) {
      throw describeSigningFailure(
        error,
        { action: "node.join", actor: actorOf(token), target: node },
        refusals,
      );
    }
  }

  /** One answer for every token that is not good, so that no caller learns which ids exist. */
  #badToken(reason: string, token: { readonly id: string } | null, remote: IpAddress): GrpcError {
    const detail =
      token === null ? "it does not have the form of a join token" : `join token ${token.id} is ${reason}`;
    const message = "the join token is not accepted";
    return this.#refuse(
      grpcCode.unauthenticated,
      message,
      `token_${reason}`,
      detail,
      remote.text,
      token?.id ?? "",
    );
  }

  #badName({ code, message }: NameRefusal, token: StoredToken): GrpcError {
    const grpc = code === "name_taken" ? grpcCode.alreadyExists : grpcCode.permissionDenied;
    return this.#refuse(grpc, message, code, message, actorOf(token), "");
  }

  #exhausted(actor: string, reason: string): GrpcError {
    const refused = { action: "node.join", actor, target: "", reason, detail: "too many requests" };
    return this.#options.refusals.refuse(grpcCode.resourceExhausted, "too many requests", refused);
  }

  #refuse(
    code: Parameters<Refusals["refuse"]>[0],
    message: string,
    reason: string,
    detail: string,
    actor: string,
    target: string,
  ): GrpcError {
    return this.#options.refusals.refuse(code, message, {
      action: "node.join",
      actor,
      target,
      reason,
      detail,
    });
  }
}

function isReplacement(existing: Registration | null, { replace }: StoredToken): boolean {
  return existing !== null || replace;
}

function actorOf(token: { readonly id: string }): string {
  return `join token ${token.id}`;
}
