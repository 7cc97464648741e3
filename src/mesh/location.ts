/** Where something was written, so that every refusal can point at it. */
export interface Location {
  readonly file: string;
  /** 1-based. */
  readonly line: number;
  /** 1-based. */
  readonly column: number;
}

/** `mesh.yaml:12:7`. */
export function formatLocation(location: Location): string {
  return `${location.file}:${location.line}:${location.column}`;
}

/** A document, or a part of one, that was refused. */
export interface DocumentError {
  readonly location: Location;
  /** `AuthorizationPolicy shop/only-cart`, or the kind alone, when it could be read. */
  readonly resource: string | null;
  readonly message: string;
  /** The word that is wrong and the nearest valid one, when there is one. */
  readonly word?: string;
  readonly suggestion?: string;
}

/** Something an operator should know about a document that was accepted. */
export interface DocumentWarning {
  readonly location: Location;
  /** Istio's condition reasons where it has one (`UnsupportedValue`). */
  readonly reason: "UnsupportedValue" | "Ignored" | "Unresolved" | "NoAddress";
  readonly message: string;
}
