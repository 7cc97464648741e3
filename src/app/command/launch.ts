/** How a program is started in a network of its own: with a resolv.conf that no other program sees, and less than root may do. */
import { MeshError } from "../../base/errors.ts";
import type { Host } from "../../host/host.ts";

export interface User {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

export interface Launch {
  readonly command: readonly string[];
  /** Null: as this process. */
  readonly user: User | null;
  /** The text of its /etc/resolv.conf. */
  readonly resolvConf: string;
}

/** By these it could get out of its network, or change the rules in there. */
const takenAway = ["net_admin", "sys_admin", "sys_ptrace", "sys_module"]
  .map((capability) => `-${capability}`)
  .join(",");

/**
 * In a mount namespace of its own: what is mounted there goes with it, and neither /etc nor any file is written, so it may be read-only.
 * Without the file glibc and musl ask 127.0.0.1, which is right. systemd-resolved and nscd are asked through sockets, past that file.
 */
const script = `set -e
resolv=$1
shift
for socket in /run/systemd/resolve /run/nscd; do
  if [ -d "$socket" ]; then mount -t tmpfs -o mode=755 fairlead "$socket"; fi
done
target=$(readlink -f /etc/resolv.conf || true)
case $target in
  "") ;;
  /run/systemd/resolve/*) printf %s "$resolv" > "$target" ;;
  *)
    if [ -e "$target" ]; then
      staging=/tmp
      mount -t tmpfs -o mode=755 fairlead $staging
      printf %s "$resolv" > $staging/resolv.conf
      mount --bind $staging/resolv.conf "$target"
      umount $staging
    fi
    ;;
esac
exec "$@"`;

/** @throws MeshError `unsupported` where a program that is needed is not installed. */
export async function launchWords(host: Pick<Host, "process">, launch: Launch): Promise<readonly string[]> {
  const { command, user, resolvConf } = launch;
  const help = async (program: string): Promise<string | null> =>
    host.process.run(program, ["--help"]).then(
      ({ output }) => output,
      () => null,
    );
  for (const program of ["unshare", "mount"])
    if ((await help(program)) === null)
      throw new MeshError("unsupported", "local", `fairlead run needs the program ${program} (util-linux)`);
  // BusyBox has a smaller one.
  const setpriv = (await help("setpriv"))?.includes("--pdeathsig") === true;
  if (!setpriv && user !== null)
    throw new MeshError("unsupported", "local", "--user needs the program setpriv (util-linux)");
  return [
    ...["unshare", "--mount", "sh", "-c", script, "fairlead-run", resolvConf],
    ...(user === null ? [] : ["env", `HOME=${user.home}`, `USER=${user.name}`, `LOGNAME=${user.name}`]),
    // Without its node it has no way out, so it ends with it.
    ...(setpriv ? ["setpriv", "--pdeathsig", "KILL", "--bounding-set", takenAway] : []),
    ...(user === null ? [] : ["--reuid", String(user.uid), "--regid", String(user.gid), "--init-groups"]),
    ...(setpriv ? ["--"] : []),
    ...command,
  ];
}
