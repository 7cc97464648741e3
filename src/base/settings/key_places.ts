/** Where an operator keeps the keys of the control plane. `config/` writes it, `control/keys` reads it. */
import type { PemSource } from "./node_control.ts";

export interface KeySettings {
  readonly authority: AuthorityPlace;
  /** `file:PATH`, `env:NAME`, `credential:NAME`; null: a file in the state directory, made at the first start. */
  readonly keyEncryptionKey: string | null;
  readonly formerKeyEncryptionKeys: readonly string[];
  readonly stateDirectory: string;
}

export type AuthorityPlace =
  | { readonly kind: "local" }
  | {
      readonly kind: "files";
      readonly certificatePath: string;
      readonly keyPath: string;
      readonly chainPath: string | null;
      readonly rootPath: string;
    }
  | {
      readonly kind: "vault-pki";
      readonly vault: VaultPlace;
      readonly mount: string;
      readonly issuer: string | null;
    }
  | {
      readonly kind: "vault-transit";
      readonly vault: VaultPlace;
      readonly mount: string;
      readonly keyName: string;
    };

export interface VaultPlace {
  readonly url: string;
  readonly namespace: string | null;
  readonly root: PemSource | null;
  readonly auth:
    | { readonly kind: "token"; readonly path: string }
    | {
        readonly kind: "approle";
        readonly mount: string;
        readonly roleId: string;
        readonly secretIdPath: string | null;
      };
}
