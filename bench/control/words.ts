/** What the processes of the benchmark say to each other. Times are of the wall clock, in milliseconds with a fraction. */
import type { MeshSize } from "./mesh.ts";

export type ServerCommand =
  | { readonly kind: "start"; readonly size: MeshSize }
  /** Applies a change once; `count` resources of the kind are changed. */
  | {
      readonly kind: "change";
      readonly what: "workload" | "service" | "policy";
      readonly count: number;
      readonly revision: number;
    }
  /** Collecting garbage first makes memory comparable, and costs CPU time. */
  | { readonly kind: "usage"; readonly collect: boolean };

export interface Usage {
  readonly atMs: number;
  /** User and system, of the whole process. */
  readonly cpuMs: number;
  readonly rssBytes: number;
  readonly heapBytes: number;
}

export type ServerAnswer =
  | {
      readonly kind: "started";
      readonly port: number;
      readonly rootsPem: string;
      readonly certificateChainPem: string;
      readonly privateKeyPem: string;
      readonly encodeMs: number;
      readonly encodeCpuMs: number;
      readonly usage: Usage;
      /** Resident, before the resources were made of the mesh. */
      readonly rssBeforeBytes: number;
    }
  | { readonly kind: "changed"; readonly usage: Usage }
  | { readonly kind: "usage"; readonly usage: Usage };

export type ClientsCommand =
  | {
      readonly kind: "connect";
      readonly port: number;
      readonly rootsPem: string;
      readonly certificateChainPem: string;
      readonly privateKeyPem: string;
      readonly count: number;
      /** Tells what is held, as after a lost connection. */
      readonly holding: boolean;
    }
  /** Answers once every stream has had so many resources since the last answer. */
  | { readonly kind: "expect"; readonly resources: number }
  | { readonly kind: "disconnect" };

export interface Arrivals {
  /** When each stream had all, in order. */
  readonly atMs: readonly number[];
  /** Of all streams together. */
  readonly bytes: number;
  readonly responses: number;
}

export type ClientsAnswer =
  | { readonly kind: "ready" }
  | { readonly kind: "connected"; readonly beganAtMs: number; readonly arrivals: Arrivals }
  | { readonly kind: "arrived"; readonly arrivals: Arrivals }
  | { readonly kind: "disconnected" };

export type AuthorityCommand = { readonly kind: "usage" } | { readonly kind: "close" };

/** Where certificates are to be had, and what is shown for them. */
export interface AuthorityAddress {
  readonly port: number;
  readonly rootsPem: string;
  readonly tokens: readonly string[];
}

export type AuthorityAnswer =
  | (AuthorityAddress & { readonly kind: "started" })
  | { readonly kind: "usage"; readonly usage: Usage };

export interface CallersCommand extends AuthorityAddress {
  readonly kind: "call";
  /** Certificates in all, and how many are asked for at any time. */
  readonly count: number;
  readonly atOnce: number;
}

export type CallersAnswer =
  | { readonly kind: "ready" }
  /** In order. */
  | { readonly kind: "called"; readonly latenciesMs: readonly number[]; readonly tookMs: number };

export function wallMs(): number {
  return performance.timeOrigin + performance.now();
}
