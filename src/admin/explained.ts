/** What a node and a control plane are both asked: why something is allowed or denied. */

export interface CallQuestion {
  readonly from: string;
  readonly to: string;
  /** Null: the only one there is. */
  readonly port: number | null;
}

export type ExplainAnswer =
  | { readonly kind: "answer"; readonly answer: object }
  /** What was asked does not say whom it is about, or it is not known here. */
  | { readonly kind: "unclear"; readonly message: string };
