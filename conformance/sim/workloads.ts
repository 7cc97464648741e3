/** The workloads of a simulated mesh and where they are. */
export interface WorkloadPlan {
  readonly name: string;
  readonly namespace: string;
  readonly address: string;
  /** Index of its machine. */
  readonly machine: number;
  readonly identity: string;
  /** Local ports of its machine that lead into the mesh in its name. */
  readonly socks5Port: number;
  readonly httpConnectPort: number;
}

/** Where the servers of a workload listen; the refused port has no listener. */
export const serverPort = 8080;
export const refusedPort = 8081;
/** Its server speaks first, as soon as it has accepted. */
export const bannerPort = 8082;
/** A machine that has no node and no identity. */
export const outsiderAddress = "10.9.0.1";
export const trustDomain = "cluster.local";

export function serviceHost(workload: WorkloadPlan): string {
  return `${workload.name}.${workload.namespace}`;
}
