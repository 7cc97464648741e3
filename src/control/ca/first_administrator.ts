/**
 * The first administrator: a client certificate of the mesh in the state directory, for whoever can read it, so that there is always
 * one who may make others. It is renewed like any other, and when its authority is replaced.
 */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { controlLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import type { Host } from "../../host/host.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { SecretManager } from "../../pki/svid/secrets.ts";
import type { Svid } from "../../pki/svid/svid.ts";
import type { PublishedBundle } from "../../pki/trust/trust_bundle.ts";
import { parseCertificate } from "../../pki/x509/certificate.ts";
import type { MeshAuthority } from "../keys/mesh_authority.ts";
import type { FirstRole } from "./first_role.ts";

const fileName = "admin.pem";
const name = "fairlead-admin";

export interface FirstAdministratorOptions {
  readonly host: Host;
  readonly logger: Logger;
  readonly provider: CryptoProvider;
  readonly authority: MeshAuthority;
  readonly id: SpiffeId;
  readonly stateDirectory: string;
  readonly role: FirstRole;
}

export function administratorId(trustDomain: string, rootNamespace: string): SpiffeId {
  return new SpiffeId(trustDomain, rootNamespace, name);
}

/** Its role, as an Administrator document; only who runs the control plane can take it away. */
export function firstAdministrator({ uri }: SpiffeId): { readonly path: string; readonly text: string } {
  return {
    path: "built in",
    text: `apiVersion: fairlead.dev/v1
kind: Administrator
metadata: {name: first}
spec:
  role: mesh-admin
  subjects: [{identity: "${uri}"}]
`,
  };
}

/**
 * Where the identity is revoked, or its certificate cannot be made now, everything else starts all the same: another administrator has to
 * be able to lift the one, and the file of before serves during the other.
 *
 * @returns a function that ends the renewal. @throws MeshError when the certificate cannot be made.
 */
export async function bootstrapAdministrator(options: FirstAdministratorOptions): Promise<() => void> {
  const { host, logger, provider, authority, id, stateDirectory, role } = options;
  const { clock, random, files } = host;
  const path = `${stateDirectory}/${fileName}`;
  if (role.retired.value) {
    // Of a process that was killed between the two.
    await files.remove(path);
    return () => {};
  }
  const secrets = new SecretManager({
    clock,
    random,
    provider,
    signer: authority,
    lifetimeMs: controlLimits.administratorLifetimeMs,
    // Whom this process believes is the bundle's to say.
    trust: { setRoots: () => {} },
    logger,
  });
  const write = async (svid: Svid): Promise<void> => {
    const text = `${svid.privateKeyPem}${svid.certificateChainPem}${authority.bundle.value.rootsPem}`;
    try {
      await files.writeAtomic(path, new TextEncoder().encode(text), 0o600);
      logger.log("info", "control", "wrote the first administrator's certificate", { path });
    } catch (thrown) {
      logger.log("error", "control", "the first administrator's certificate could not be written", {
        error: asMeshError(thrown, "io", "local").message,
      });
    }
  };
  secrets.subscribe((svid) => void write(svid));
  const unsubscribe = authority.bundle.subscribe((bundle) => {
    const current = secrets.current(id);
    secrets.renewAll("the authority is being replaced", (svid) => isOfAnother(svid, bundle));
    // The roots in the file are those that it goes by to know the control plane.
    if (current !== null) void write(current);
  });
  try {
    const first = secrets.svid(id);
    // Known to be of no avail for now: it comes by itself, and the start does not wait for it.
    if (authority.authorities.value.active?.ca == null) first.catch(() => {});
    else await first;
  } catch (thrown) {
    if (isAway(thrown)) {
      logger.log("warn", "control", "the first administrator's certificate is not renewed now", {
        path,
        reason: asMeshError(thrown, "identity_unavailable", "local").message,
      });
    } else if (!isRevoked(thrown)) throw thrown;
    else
      logger.log(
        "warn",
        "control",
        "the first administrator's identity is revoked; another administrator can lift the revocation",
        {
          identity: id.uri,
        },
      );
  }
  const end = (): void => {
    unsubscribe();
    secrets.close();
  };
  const endWatch = role.retired.subscribe(() => {
    end();
    // What is left of it is removed at the next start.
    void files.remove(path).catch(() => {});
  });
  return () => {
    endWatch();
    end();
  };
}

/** The key is out of reach, or what is issued cannot be recorded: both pass. */
function isAway(thrown: unknown): boolean {
  const passing = ["authority_unavailable", "disk_full", "disk_read_only"];
  return thrown instanceof MeshError && (passing.includes(thrown.code) || isAway(thrown.cause));
}

function isRevoked(thrown: unknown): boolean {
  return thrown instanceof MeshError && (thrown.code === "certificate_revoked" || isRevoked(thrown.cause));
}

function isOfAnother({ chain }: Svid, { wantedIssuerKeyId }: PublishedBundle): boolean {
  const [leaf] = chain;
  if (wantedIssuerKeyId === null || leaf === undefined) return false;
  return parseCertificate(leaf).extensions.authorityKeyId !== wantedIssuerKeyId;
}
