/** What grows, one thing at a time, from one base. */

/** Everything that a run of this benchmark is told apart by. */
export interface Point {
  /** Open connections. */
  readonly connections: number;
  /** Services of the mesh, each with a workload and a policy that holds for every caller of `shop/db`. */
  readonly services: number;
  /** Workloads that call, each with a tunnel of its own to `shop/db`. */
  readonly peers: number;
  /** A change of a workload, a service and a policy each second. */
  readonly changes: boolean;
}

/** A row of the table: how far what has grown. */
export interface Growth {
  readonly name: string;
  readonly point: Point;
}

export const base: Point = { connections: 1_000, services: 10, peers: 1, changes: false };
/** A smoke test's. */
const quickBase: Point = { connections: 50, services: 10, peers: 1, changes: false };

export function growths(quick: boolean): readonly Growth[] {
  const from = quick ? quickBase : base;
  const connections = quick ? [500] : [10, 10_000];
  const services = quick ? [100] : [1_000, 10_000];
  const peers = quick ? [10] : [100, 1_000];
  return [
    { name: named(from), point: from },
    ...connections.map((count) => grown({ ...from, connections: count })),
    ...services.map((count) => grown({ ...from, services: count })),
    ...peers.map((count) => grown({ ...from, peers: count })),
    grown({ ...from, changes: true }),
    ...(quick ? [] : services.map((count) => grown({ ...from, services: count, changes: true }))),
  ];
}

/** Of those that stay open with nothing sent: the row of most connections. */
export function idlePoint(quick: boolean): Growth {
  return growths(quick).reduce((most, each) =>
    each.point.connections > most.point.connections ? each : most,
  );
}

function grown(point: Point): Growth {
  return { name: named(point), point };
}

function named({ connections, services, peers, changes }: Point): string {
  const count = (number: number, unit: string): string =>
    `${number.toLocaleString("en")} ${unit}${number === 1 ? "" : "s"}`;
  const rest = changes ? ", a change a second" : "";
  return `${count(connections, "connection")}, ${count(services, "service")}, ${count(peers, "peer")}${rest}`;
}
