/**
 * `npm run package`: `dist/fairlead_VERSION_ARCH.deb` of `dist/fairlead`. What is in it is what `fairlead install` puts on a host, in a
 * package's places; dpkg-deb makes it where it is there, else it is written here: an ar archive of two tar archives (deb(5)).
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import manifest from "../package.json" with { type: "json" };

const root = join(import.meta.dir, "..");
const { version } = manifest;
const architecture = process.arch === "arm64" ? "arm64" : "amd64";

const control = (kibibytes: number): string => `Package: fairlead
Version: ${version}
Architecture: ${architecture}
Maintainer: Fairlead <fairlead@localhost>
Installed-Size: ${kibibytes}
Depends: adduser
Recommends: nftables | iptables
Section: net
Priority: optional
Description: zero-trust service mesh for virtual machines and edge hosts
 Mutual TLS with SPIFFE identities and Istio's authorization policies between
 hosts, without sidecars and without Kubernetes: node tunnel, waypoint and
 control plane in one program.
`;

const scripts = {
  postinst: `#!/bin/sh
set -e
if [ "$1" = configure ]; then
  getent passwd fairlead >/dev/null || adduser --system --group --home /var/lib/fairlead --no-create-home --shell /usr/sbin/nologin fairlead
  chown root:fairlead /etc/fairlead /etc/fairlead/fairlead.yaml
  if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # Where it runs already, what was just installed does.
    systemctl try-restart fairlead.service || true
  fi
fi
`,
  prerm: `#!/bin/sh
set -e
if [ "$1" = remove ]; then
  [ ! -d /run/systemd/system ] || systemctl disable --now fairlead.service || true
  /usr/bin/fairlead capture remove --force || true
  /usr/bin/fairlead names remove || true
fi
`,
  postrm: `#!/bin/sh
set -e
[ ! -d /run/systemd/system ] || systemctl daemon-reload || true
if [ "$1" = purge ]; then
  rm -rf /var/lib/fairlead /etc/fairlead /etc/default/fairlead /etc/systemd/system/fairlead.service.d
  ! getent passwd fairlead >/dev/null || deluser --system fairlead || true
fi
`,
} as const;

async function main(): Promise<void> {
  // Of the program itself, or of one that takes its place in a test.
  const binary = process.argv[2] ?? join(root, "dist", "fairlead");
  const target = process.argv[3] ?? join(root, "dist", `fairlead_${version}_${architecture}.deb`);
  const stage = await mkdtemp(join(tmpdir(), "fairlead-package-"));
  try {
    const tree = join(stage, "tree");
    await mkdir(tree, { mode: 0o755 });
    run([binary, "install", "--root", tree, "--prefix", "/usr", "--binary", binary]);
    await compress(tree);
    const size = Number(run(["du", "-sk", tree]).split("\t")[0]);
    const debian = join(tree, "DEBIAN");
    await mkdir(debian, { mode: 0o755 });
    await writeFile(join(debian, "control"), control(size));
    await writeFile(join(debian, "conffiles"), "/etc/fairlead/fairlead.yaml\n/etc/default/fairlead\n");
    for (const [name, text] of Object.entries(scripts))
      await writeFile(join(debian, name), text, { mode: 0o755 });
    if (process.argv.includes("--own") || Bun.which("dpkg-deb") === null) await writeDeb(tree, target);
    else run(["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", tree, target]);
    console.log(`${target}  ${Math.round((await Bun.file(target).size) / 1024)} KiB`);
  } finally {
    await rm(stage, { recursive: true, force: true });
  }
}

/** Where Debian has what an installation by hand has elsewhere. */
async function compress(tree: string): Promise<void> {
  run(["gzip", "-n9", join(tree, "usr/share/man/man1/fairlead.1")]);
  await mkdir(join(tree, "usr/share/zsh/vendor-completions"), { recursive: true });
  const site = join(tree, "usr/share/zsh/site-functions");
  run(["mv", join(site, "_fairlead"), join(tree, "usr/share/zsh/vendor-completions/_fairlead")]);
  await rm(site, { recursive: true });
  await mkdir(join(tree, "usr/lib/systemd/system"), { recursive: true });
  run([
    "mv",
    join(tree, "etc/systemd/system/fairlead.service"),
    join(tree, "usr/lib/systemd/system/fairlead.service"),
  ]);
  await rm(join(tree, "etc/systemd"), { recursive: true });
  const documents = join(tree, "usr/share/doc/fairlead");
  await mkdir(documents, { recursive: true });
  await writeFile(join(documents, "copyright"), await readFile(join(root, "LICENSE")));
}

/** deb(5): `debian-binary`, `control.tar.gz`, `data.tar.gz`, in this order. */
async function writeDeb(tree: string, target: string): Promise<void> {
  const owned = ["--owner=0", "--group=0", "--numeric-owner", "--sort=name"];
  const parts = join(tree, "..", "parts");
  await mkdir(parts);
  run(["tar", ...owned, "-czf", join(parts, "control.tar.gz"), "-C", join(tree, "DEBIAN"), "."]);
  run(["tar", ...owned, "--exclude=./DEBIAN", "-czf", join(parts, "data.tar.gz"), "-C", tree, "."]);
  const members: Uint8Array[] = [new TextEncoder().encode("!<arch>\n")];
  const add = (name: string, bytes: Uint8Array): void => {
    const fields = [name.padEnd(16), "0".padEnd(12), "0".padEnd(6), "0".padEnd(6), "100644".padEnd(8)];
    const head = `${fields.join("")}${String(bytes.length).padEnd(10)}\`\n`;
    members.push(new TextEncoder().encode(head), bytes);
    // Members begin at even places.
    if (bytes.length % 2 === 1) members.push(Uint8Array.of(0x0a));
  };
  add("debian-binary", new TextEncoder().encode("2.0\n"));
  for (const name of ["control.tar.gz", "data.tar.gz"]) add(name, await readFile(join(parts, name)));
  await writeFile(target, Buffer.concat(members));
}

function run(argv: readonly string[]): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync([...argv]);
  if (exitCode !== 0) throw new Error(`${argv.join(" ")}: ${stderr.toString() || stdout.toString()}`);
  return stdout.toString();
}

await main();
