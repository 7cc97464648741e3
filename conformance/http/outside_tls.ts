/** TLS toward servers outside the mesh, as DestinationRules ask for it, with certificates made by openssl: taken, and refused. */
import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { TestAuthority } from "../peer/lab/authority.ts";
import { scratchDirectory } from "../peer/lab/cleanup.ts";
import type { Backend, Suite } from "./stage.ts";

interface Case {
  readonly name: string;
  /** In `tls` of the DestinationRule. */
  readonly tls: (files: Files) => string;
  /** Null: refused with 503, and the server is told nothing. */
  readonly sees: string | null;
  readonly wantsClient?: boolean;
}

interface Files {
  /** With a folder in it for the documents' namespace. */
  readonly folder: string;
  readonly roots: string;
  readonly otherRoots: string;
  readonly server: { readonly certPath: string; readonly keyPath: string };
  readonly client: { readonly certPath: string; readonly keyPath: string };
}

const cases: readonly Case[] = [
  {
    name: "SIMPLE",
    tls: ({ roots }) => `mode: SIMPLE, sni: api.example, caCertificates: ${roots}`,
    sees: "/a api.example",
  },
  {
    name: "roots that are others'",
    tls: ({ otherRoots }) => `mode: SIMPLE, sni: api.example, caCertificates: ${otherRoots}`,
    sees: null,
  },
  {
    name: "a name that is not the server's",
    tls: ({ roots }) => `mode: SIMPLE, sni: other.example, caCertificates: ${roots}`,
    sees: null,
  },
  {
    name: "subjectAltNames",
    tls: ({ roots }) =>
      `mode: SIMPLE, sni: other.example, subjectAltNames: [api.example], caCertificates: ${roots}`,
    sees: "/a other.example",
  },
  { name: "the system's roots", tls: () => "mode: SIMPLE, sni: api.example", sees: null },
  {
    name: "MUTUAL",
    tls: ({ roots, client }) =>
      `mode: MUTUAL, sni: api.example, caCertificates: ${roots}, clientCertificate: ${client.certPath}, privateKey: ${client.keyPath}`,
    sees: "/a api.example caller",
    wantsClient: true,
  },
  {
    name: "SIMPLE to a server that wants a certificate",
    tls: ({ roots }) => `mode: SIMPLE, sni: api.example, caCertificates: ${roots}`,
    sees: null,
    wantsClient: true,
  },
];

/** One suite a case, since each has a server. */
export function outsideTls(): readonly Suite[] {
  const node = Bun.which("node");
  let made: Files | null = null;
  const files = (): Files => {
    made ??= makeFiles();
    return made;
  };
  return cases.map((each, index) => {
    const backend: Backend = {
      name: `outside${index}`,
      missing: node === null ? "node" : null,
      protocol: "HTTP",
      files: () => files().folder,
      outside: () => `{tls: {${each.tls(files())}}}`,
      command: (address, port) => {
        const { server, roots } = files();
        const script = join(import.meta.dir, "backends/tls_backend.cjs");
        return [
          node ?? "",
          script,
          `${port}`,
          address,
          server.certPath,
          server.keyPath,
          ...(each.wantsClient === true ? [roots] : []),
        ];
      },
      log: async () => [],
    };
    return {
      name: `TLS to outside: ${each.name}`,
      missing: backend.missing,
      cases: 1,
      backend,
      run: async (stage, at) => {
        const { hostname, port } = stage.target(at);
        const response = await fetch(`http://${hostname}:${port}/a`);
        const text = await response.text();
        const isRight =
          each.sees === null ? response.status === 503 : response.status === 200 && text === each.sees;
        return { passed: isRight ? 1 : 0, failures: isRight ? [] : [`answer ${response.status}: ${text}`] };
      },
    };
  });
}

function makeFiles(): Files {
  const directory = scratchDirectory("outside_tls");
  const folder = (name: string) => {
    mkdirSync(join(directory, name), { recursive: true });
    return join(directory, name);
  };
  const authority = TestAuthority.create(folder("one"), "outside");
  const other = TestAuthority.create(folder("other"), "other");
  const named = folder("files/shop");
  const put = (path: string, name: string) => {
    copyFileSync(path, join(named, name));
    return join(named, name);
  };
  const client = authority.issue({ name: "caller", subjectAltNames: ["DNS:caller.example"] });
  return {
    folder: join(directory, "files"),
    roots: put(authority.certPath, "roots.pem"),
    otherRoots: put(other.certPath, "other.pem"),
    server: authority.issue({ name: "server", subjectAltNames: ["DNS:api.example"] }),
    client: { certPath: put(client.certPath, "caller.pem"), keyPath: put(client.keyPath, "caller.key") },
  };
}
