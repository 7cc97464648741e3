/**
 * A certificate authority made with the openssl command line: a tool that shares no line with the product, so that a
 * certificate both sides like is not merely one that both sides misread alike.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runToEnd } from "./subprocess.ts";

export interface LeafRequest {
  /** File name, and common name unless `commonName` says otherwise. */
  readonly name: string;
  /** subjectAltName entries in openssl's form, `URI:spiffe://…` or `DNS:…`; empty for none. */
  readonly subjectAltNames: readonly string[];
  /** Both by default, as in every mesh leaf. */
  readonly extendedKeyUsage?: readonly ("clientAuth" | "serverAuth" | "codeSigning")[];
  /** Relative to now. Default: from an hour ago to a day ahead. */
  readonly notBeforeMs?: number;
  readonly notAfterMs?: number;
  readonly certificateAuthority?: boolean;
  readonly commonName?: string;
}

export interface Leaf {
  readonly certPath: string;
  readonly keyPath: string;
}

const hourMs = 3_600_000;

export class TestAuthority {
  readonly directory: string;
  readonly certPath: string;
  readonly keyPath: string;

  private constructor(directory: string) {
    this.directory = directory;
    this.certPath = join(directory, "ca.pem");
    this.keyPath = join(directory, "ca.key");
  }

  /** A new self-signed P-256 root. */
  static create(directory: string, commonName: string): TestAuthority {
    const authority = TestAuthority.#prepare(directory);
    runToEnd([
      "openssl",
      "genpkey",
      "-algorithm",
      "EC",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-out",
      authority.keyPath,
    ]);
    runToEnd([
      "openssl",
      "req",
      "-x509",
      "-new",
      "-key",
      authority.keyPath,
      "-out",
      authority.certPath,
      "-days",
      "30",
      "-sha256",
      "-subj",
      `/O=${commonName}/CN=${commonName}`,
      "-config",
      authority.#configPath,
      "-extensions",
      "root",
    ]);
    return authority;
  }

  /** An authority whose key somebody else made. */
  static load(directory: string, certPath: string, keyPath: string): TestAuthority {
    const authority = TestAuthority.#prepare(directory);
    copyFileSync(certPath, authority.certPath);
    copyFileSync(keyPath, authority.keyPath);
    return authority;
  }

  static #prepare(directory: string): TestAuthority {
    mkdirSync(directory, { recursive: true });
    const authority = new TestAuthority(directory);
    writeFileSync(join(directory, "index.txt"), "");
    writeFileSync(join(directory, "index.txt.attr"), "unique_subject = no\n");
    writeFileSync(join(directory, "crlnumber"), "01\n");
    writeFileSync(authority.#configPath, configuration(directory));
    return authority;
  }

  get #configPath(): string {
    return join(this.directory, "openssl.cnf");
  }

  get rootPem(): string {
    return readFileSync(this.certPath, "utf8");
  }

  issue(request: LeafRequest): Leaf {
    const path = (ending: string): string => join(this.directory, `${request.name}.${ending}`);
    if (existsSync(path("pem"))) throw new Error(`a certificate named ${request.name} exists`);
    runToEnd([
      "openssl",
      "genpkey",
      "-algorithm",
      "EC",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-out",
      path("key"),
    ]);
    runToEnd([
      "openssl",
      "req",
      "-new",
      "-key",
      path("key"),
      "-out",
      path("csr"),
      "-config",
      this.#configPath,
      "-subj",
      `/CN=${(request.commonName ?? request.name).replaceAll("/", "\\/")}`,
    ]);
    writeFileSync(path("ext"), extensions(request));
    const now = Date.now();
    runToEnd([
      "openssl",
      "ca",
      "-batch",
      "-notext",
      "-config",
      this.#configPath,
      "-in",
      path("csr"),
      "-out",
      path("pem"),
      "-extfile",
      path("ext"),

      "-md",
      "sha256",
      "-startdate",
      opensslTime(now + (request.notBeforeMs ?? -hourMs)),
      "-enddate",
      opensslTime(now + (request.notAfterMs ?? 24 * hourMs)),
    ]);
    return { certPath: path("pem"), keyPath: path("key") };
  }

  /** A mesh leaf as istiod would issue it. */
  issueFor(spiffeId: string, name: string): Leaf {
    return this.issue({ name, subjectAltNames: [`URI:${spiffeId}`] });
  }

  /** Revokes and writes a new revocation list. @returns its path (PEM). */
  revoke(leaves: readonly Leaf[]): string {
    for (const leaf of leaves)
      runToEnd(["openssl", "ca", "-batch", "-config", this.#configPath, "-revoke", leaf.certPath]);
    const path = join(this.directory, "crl.pem");
    runToEnd(["openssl", "ca", "-gencrl", "-crldays", "7", "-config", this.#configPath, "-out", path]);
    return path;
  }
}

function extensions(request: LeafRequest): string {
  const usages = request.extendedKeyUsage ?? ["clientAuth", "serverAuth"];
  const lines = [
    `basicConstraints = critical, CA:${request.certificateAuthority === true ? "TRUE" : "FALSE"}`,
    "keyUsage = critical, digitalSignature, keyEncipherment",
    `extendedKeyUsage = ${usages.join(", ")}`,
    "authorityKeyIdentifier = keyid",
  ];
  if (request.subjectAltNames.length > 0)
    lines.push(`subjectAltName = ${request.subjectAltNames.join(", ")}`);
  return `${lines.join("\n")}\n`;
}

function configuration(directory: string): string {
  return `[ca]
default_ca = this
[this]
database = ${directory}/index.txt
new_certs_dir = ${directory}
certificate = ${directory}/ca.pem
private_key = ${directory}/ca.key
crlnumber = ${directory}/crlnumber
rand_serial = yes
default_md = sha256
policy = anything
copy_extensions = none
[anything]
organizationName = optional
commonName = optional
[req]
distinguished_name = dn
prompt = no
[dn]
CN = placeholder
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
`;
}

/** YYYYMMDDHHMMSSZ. */
function opensslTime(wallMs: number): string {
  return `${new Date(wallMs).toISOString().replaceAll(/[-:T]/g, "").slice(0, 14)}Z`;
}
