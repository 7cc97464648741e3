/** The mesh every peer is given, in its own form of configuration: `shop/cart` on one side, `shop/db` on the other. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { TestAuthority } from "./authority.ts";
import { openLoopback, openNamespaces, type Place } from "./place.ts";

export const trustDomain = "cluster.local";
export const cartIdentity = `spiffe://${trustDomain}/ns/shop/sa/cart`;
export const dbIdentity = `spiffe://${trustDomain}/ns/shop/sa/db`;

/** Ports of the applications beside the inbound node. */
export const appPorts = {
  http: 8080,
  bulk: 8081,
  /** Obeys the first line it reads (`conformance/peer/go/app.go`). */
  app: 8082,
  /** Allowed by policy, without a listener. */
  closed: 8083,
  /** Somebody listens, no policy allows it. */
  denied: 8084,
  /** Speaks first. */
  banner: 8085,
} as const;

/** Ports of :authority by which the scripted server (`conformance/peer/go/scripted.go`) chooses what to do. */
export const scriptPorts: Readonly<Record<string, number>> = Object.fromEntries(
  [
    ...[
      "echo",
      "s401",
      "s403",
      "s404",
      "s503",
      "interim",
      "cancel",
      "noerr",
      "ierr",
      "refuse",
      "goaway",
      "drop",
    ],
    ...["trailers", "padded", "push", "garbage", "overrun", "mute", "stall", "ping", "smaller", "bye"],
  ].map((name, index) => [name, 8101 + index]),
);

export const allowedPorts: readonly number[] = [
  appPorts.http,
  appPorts.bulk,
  appPorts.app,
  appPorts.closed,
  appPorts.banner,
];

/** All that outbound nodes must carry. */
export const everyPort: readonly number[] = [...allowedPorts, appPorts.denied, ...Object.values(scriptPorts)];

export interface Lab {
  readonly place: Place;
  /** Configuration and logs of this lab. */
  readonly directory: string;
  readonly authority: TestAuthority;
  /** A revocation list that inbound and outbound nodes are to honour, or none. */
  readonly crlPath: string | null;
}

export interface LabOptions {
  /** Sign with this root and key in place of a new one. */
  readonly root?: { readonly certPath: string; readonly keyPath: string };
}

export function openLab(directory: string, kind: Place["kind"], options: LabOptions = {}): Lab {
  mkdirSync(directory, { recursive: true });
  const place = kind === "namespaces" ? openNamespaces() : openLoopback();
  const pki = join(directory, "pki");
  const authority =
    options.root === undefined
      ? TestAuthority.create(pki, "lab root")
      : TestAuthority.load(pki, options.root.certPath, options.root.keyPath);
  return { place, directory, authority, crlPath: null };
}
