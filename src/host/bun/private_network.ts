/**
 * A network namespace without a name (network_namespaces(7)). A namespace belongs to a thread, and a socket to the one that its thread was
 * in when it was made: the thread of this program goes in for a single call, and is back before anything else runs. Nothing of it is
 * on any disk, so nothing is left when this process is killed.
 */
import { dlopen } from "bun:ffi";
import { closeSync, openSync } from "node:fs";
import { constants } from "node:os";
import { isatty } from "node:tty";
import { MeshError } from "../../base/errors.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { Network } from "../host.ts";
import type { AttachedProgram, PrivateNetwork } from "../private_network.ts";
import { openCLibrary } from "./linux_socket.ts";
import { runProgram } from "./process.ts";

/** CLONE_NEWNET of linux/sched.h. */
const newNetwork = 0x40000000;
const ownNamespace = "/proc/thread-self/ns/net";

const symbols = {
  unshare: { args: ["i32"], returns: "i32" },
  setns: { args: ["i32", "i32"], returns: "i32" },
} as const;

/** @throws MeshError `permission_denied` or `unsupported`, blame local. */
export function openPrivateNetwork(net: Network): PrivateNetwork {
  const library = openCLibrary((name) => dlopen(name, symbols).symbols);
  if (library === null) throw new MeshError("unsupported", "local", "network namespaces need Linux");
  const outer = openSync(ownNamespace, "r");
  if (library.unshare(newNetwork) !== 0) {
    closeSync(outer);
    throw new MeshError(
      "permission_denied",
      "local",
      "a network of its own needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN), and a kernel with network namespaces",
    );
  }
  const inner = openSync(ownNamespace, "r");
  leave();

  function leave(): void {
    // This process would go on in the wrong network, with no way to tell.
    if (library?.setns(outer, newNetwork) !== 0) process.abort();
  }

  function enter<T>(call: () => T): T {
    if (library?.setns(inner, newNetwork) !== 0)
      throw new MeshError("io", "local", "the network of the program cannot be entered");
    try {
      return call();
    } finally {
      leave();
    }
  }

  let isOpen = true;
  return {
    // Each makes its socket before it first waits.
    net: {
      listen: (options, onAccept) => enter(() => net.listen(options, onAccept)),
      connect: (options) => enter(() => net.connect(options)),
      bindUdp: (address, onDatagram) => enter(() => net.bindUdp(address, onDatagram)),
    },
    run: (program, args, input) =>
      enter(() => runProgram(program, args, input ?? "", hostLimits.runTimeoutMs)),
    start: (argv, environment) => enter(() => startAttached(argv, environment)),
    close: () => {
      if (isOpen) for (const descriptor of [inner, outer]) closeSync(descriptor);
      isOpen = false;
    },
  };
}

function startAttached(
  argv: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): AttachedProgram {
  try {
    const child = Bun.spawn([...argv], {
      stdio: ["inherit", "inherit", "inherit"],
      env: { ...environment },
    });
    // A terminal interrupts all that it has in front, the program among them.
    const isInterrupted = isatty(0);
    return {
      exited: child.exited.then((code) => {
        const number = Object.entries(constants.signals).find(([name]) => name === child.signalCode)?.[1];
        return number === undefined ? code : 128 + number;
      }),
      signal: (name) => {
        if (name === "SIGINT" && isInterrupted) return;
        child.kill(name);
      },
    };
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    throw new MeshError("io", "local", `cannot run ${argv[0] ?? ""}: ${reason}`, { cause: thrown });
  }
}
