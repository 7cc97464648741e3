/**
 * The stage that knows the end user: tokens are found, verified by the rules that look there, and taken away or passed on; what they say
 * goes into the headers that were asked for. No token passes, as no end user; a token that does not hold never does, nor a good one beside it.
 */
import { authLimits } from "../../base/limits/auth.ts";
import type { EndUser, Fields, LocalReply, RequestHead } from "../exchange.ts";
import { field } from "../exchange.ts";
import { claimAt } from "./matcher.ts";
import {
  type FoundToken,
  findTokens,
  locationKey,
  locationsOf,
  removeTokens,
  type TokenLocation,
  withoutFields,
} from "./token_locations.ts";
import { payloadText, readTokenText, type TokenText } from "./token_text.ts";
import type { RuleVerifier, TokenFault, VerifiedToken } from "./token_verifier.ts";

/** Who the request is from, beside its peer. */
export interface Authenticated {
  /** By the first of its tokens; null without any. */
  readonly user: EndUser | null;
  readonly tokens: readonly AcceptedToken[];
}

export interface AcceptedToken {
  readonly verified: VerifiedToken;
  readonly verifier: RuleVerifier;
  readonly location: TokenLocation;
}

const anonymous: Authenticated = { user: null, tokens: [] };

interface Place {
  readonly location: TokenLocation;
  readonly verifiers: readonly RuleVerifier[];
}

export class Authentication {
  readonly #places: ReadonlyMap<string, Place>;
  readonly #locations: readonly TokenLocation[];
  /** Of the rules' outputs: what comes under these names is not to be believed. */
  readonly #outputs: readonly string[];
  readonly verifiers: readonly RuleVerifier[];

  constructor(verifiers: readonly RuleVerifier[]) {
    this.verifiers = verifiers;
    const places = new Map<
      string,
      { readonly location: TokenLocation; readonly verifiers: RuleVerifier[] }
    >();
    for (const verifier of verifiers)
      for (const location of locationsOf(verifier.rule)) {
        const place = places.get(locationKey(location)) ?? { location, verifiers: [] };
        places.set(locationKey(location), place);
        place.verifiers.push(verifier);
      }
    this.#places = places;
    this.#locations = [...places.values()].map(({ location }) => location);
    this.#outputs = [...new Set(verifiers.flatMap(outputsOf))];
  }

  /** Changes the head. Waits for nothing when all tokens are known. */
  run(head: RequestHead): Authenticated | LocalReply | Promise<Authenticated | LocalReply> {
    if (this.verifiers.length === 0) return anonymous;
    if (this.#outputs.some((name) => field(head.fields, name) !== null))
      head.fields = withoutFields(head.fields, this.#outputs);
    // A preflight carries no credentials (Fetch, "CORS-preflight fetch"), and Istio lets it pass.
    if (isPreflight(head)) return anonymous;
    const found = findTokens(head, this.#locations);
    if (found === null) return this.#refuse(head, tooMany);
    if (found.length === 0) return anonymous;
    const known = found.map((one) => this.#known(one));
    const accepted = known.filter((one) => one !== null);
    if (accepted.length === found.length) return this.#accept(head, accepted);
    return this.#verify(head, found);
  }

  async #verify(head: RequestHead, found: readonly FoundToken[]): Promise<Authenticated | LocalReply> {
    const accepted: AcceptedToken[] = [];
    for (const one of found) {
      const result = this.#known(one) ?? (await this.#verifyOne(one));
      if (!("verified" in result)) return this.#refuse(head, result);
      accepted.push(result);
    }
    return this.#accept(head, accepted);
  }

  #known({ token, location }: FoundToken): AcceptedToken | null {
    for (const verifier of this.#at(location)) {
      const verified = verifier.known(token);
      if (verified !== null) return { verified, verifier, location };
    }
    return null;
  }

  async #verifyOne({ token, location }: FoundToken): Promise<AcceptedToken | TokenFault> {
    const text = readTokenText(token);
    if (typeof text === "string") return { status: 401, message: text, detail: text };
    let fault: TokenFault = {
      status: 401,
      message: "Jwt issuer is not configured",
      detail: unknownIssuer(text),
    };
    for (const verifier of this.#at(location)) {
      if (verifier.rule.issuer !== text.issuer) continue;
      const result = await verifier.verify(text);
      if ("user" in result) return { verified: result, verifier, location };
      fault = { ...result, detail: `${result.detail} (issuer ${text.issuer})` };
    }
    return fault;
  }

  #at(location: TokenLocation): readonly RuleVerifier[] {
    return this.#places.get(locationKey(location))?.verifiers ?? [];
  }

  #accept(head: RequestHead, tokens: readonly AcceptedToken[]): Authenticated {
    for (const { verified, location } of tokens) {
      const { rule } = verified;
      if (!rule.forwardOriginalToken) removeTokens(head, location);
      if (rule.outputPayloadToHeader !== null)
        head.fields.push(rule.outputPayloadToHeader, payloadText(verified.token));
      for (const { header, claim } of rule.outputClaimToHeaders) {
        const value = headerValue(claimAt(verified.user.claims, claim));
        if (value !== null) head.fields.push(header, value);
      }
    }
    return { user: tokens[0]?.verified.user ?? null, tokens };
  }

  /** As Envoy's filter answers (`jwt_authn/filter.cc`), but for the query, which may hold the token. */
  #refuse({ scheme, authority, path }: RequestHead, fault: TokenFault): LocalReply {
    const mark = path.indexOf("?");
    const place = (mark === -1 ? path : path.slice(0, mark)).slice(0, authLimits.maxRealmChars);
    const realm = `${scheme}://${authority}${place}`.replace(/[\\"]/g, "\\$&");
    const fields: Fields = ["content-type", "text/plain"];
    if (fault.status !== 503)
      fields.push("www-authenticate", `Bearer realm="${realm}", error="invalid_token"`);
    return {
      status: fault.status,
      fields,
      body: new TextEncoder().encode(fault.message),
      grpcStatus: null,
      flag: fault.status === 503 ? "UAEX" : "-",
      detail: `the end user's token: ${fault.detail}`,
    };
  }
}

const tooMany: TokenFault = {
  status: 401,
  message: "Jwt verification fails",
  detail: `the request has more than ${authLimits.maxTokensPerRequest} tokens`,
};

function unknownIssuer({ issuer }: TokenText): string {
  return issuer === "" ? "it names no issuer" : `its issuer ${issuer.slice(0, 256)} is not configured there`;
}

function outputsOf({ rule }: RuleVerifier): readonly string[] {
  return [
    ...(rule.outputPayloadToHeader === null ? [] : [rule.outputPayloadToHeader]),
    ...rule.outputClaimToHeaders.map(({ header }) => header),
  ];
}

function isPreflight({ method, fields }: RequestHead): boolean {
  return (
    method === "OPTIONS" &&
    (field(fields, "origin") ?? "") !== "" &&
    (field(fields, "access-control-request-method") ?? "") !== ""
  );
}

/** Whole numbers without an exponent, what is no scalar as base64 of its JSON (Envoy `addJWTClaimToHeader`); null: nothing to say. */
function headerValue(claim: unknown): string | null {
  switch (typeof claim) {
    case "string":
      // Nothing that would end the header, or begin another.
      return claim === "" || !/^[\t\x20-\x7e]*$/.test(claim) ? null : claim;
    case "number":
      return Number.isSafeInteger(claim) && claim >= 0 ? String(claim) : claim.toFixed(6);
    case "boolean":
      return String(claim);
    case "object":
      return claim === null
        ? null
        : btoa(String.fromCharCode(...new TextEncoder().encode(JSON.stringify(claim))));
    default:
      return null;
  }
}
