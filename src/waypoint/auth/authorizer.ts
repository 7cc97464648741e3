/** What an external authorizer is asked, and what it may answer. Who speaks HTTP or gRPC to it is handed in. */
import type { ExternalAuthorizer } from "../../mesh/documents/security.ts";
import type { Downstream, Fields, RequestHead } from "../exchange.ts";

export interface AuthorizerQuestion {
  readonly downstream: Downstream;
  /** Null of a connection that is not HTTP. */
  readonly head: RequestHead | null;
  /** The beginning of the request's content, when the authorizer wants it. */
  readonly body: Uint8Array;
  /** Whether that is all of it. */
  readonly isWholeBody: boolean;
}

export type AuthorizerAnswer =
  | {
      readonly kind: "allowed";
      /** Changes to what is sent on: in this order. */
      readonly changes: readonly HeaderChange[];
      readonly removed: readonly string[];
      /** For the client's answer. */
      readonly responseFields: Fields;
    }
  | {
      readonly kind: "denied";
      readonly status: number;
      readonly fields: Fields;
      readonly body: Uint8Array;
    }
  /** It could not be asked, or what it said is no answer. */
  | { readonly kind: "failed"; readonly reason: string };

export interface HeaderChange {
  readonly name: string;
  readonly value: string;
  /** Added to what is there; otherwise in its place. */
  readonly append: boolean;
}

export type AskAuthorizer = (
  authorizer: ExternalAuthorizer,
  question: AuthorizerQuestion,
) => Promise<AuthorizerAnswer>;

/** What an authorizer may set: nothing that frames or routes a message, and nothing that would be another header to the next parser. */
export function safeHeader(name: string, value: string): boolean {
  return namePattern.test(name) && !unsafeNames.has(name) && !unsafeValue.test(value);
}

const namePattern = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be sent.
const unsafeValue = /[\x00-\x08\x0a-\x1f\x7f]/;
const unsafeNames: ReadonlySet<string> = new Set([
  ...["host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection"],
  ...["te", "trailer", "upgrade", "expect"],
]);
