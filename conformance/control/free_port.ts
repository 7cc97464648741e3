const count = 5_500;
/** Four suites may run at a time (`scripts/test.ts`): each has ports of its own. */
const first = 10_000 + Number(process.env.FAIRLEAD_TEST_LANE ?? 0) * count;
const given = new Set<number>();

/**
 * A port on loopback that no process has now, and that none is given by chance before it is opened: it is below those that kernels take
 * for connections (`net.ipv4.ip_local_port_range`, from 32768), and is not given twice.
 */
export function freePort(): number {
  for (;;) {
    const port = first + Math.floor(Math.random() * count);
    if (given.has(port)) continue;
    given.add(port);
    try {
      Bun.listen({ hostname: "127.0.0.1", port, socket: { data() {} } }).stop(true);
      return port;
    } catch {
      // Somebody has it.
    }
  }
}
