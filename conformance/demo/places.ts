/** Who is where in the demo. Every address is loopback, so nothing here needs root or leaves the machine. */

export interface Member {
  readonly name: string;
  /** Its node tunnel and its workload share one address, as on a host of their own. */
  readonly ip: string;
}

export interface Places {
  readonly frontend: Member;
  readonly backend: Member;
  /** A workload of the same mesh with a good certificate that has no business with the backend. */
  readonly reports: Member;
  readonly waypoint: Member;
  /** A newer version of the backend, and one that is broken. */
  readonly newer: Member;
  readonly broken: Member;
}

/** The port the backend's clients know, on the backend's address: the node tunnel listens there in front of the application. */
export const backendPort = 8080;
export const hbonePort = 15008;
export const adminPort = 15000;
export const readinessPort = 15021;
/** Where an application enters the mesh: a local port that leads to the backend. */
export const entryPort = 18080;

/** What the application itself asks for; the insider has it too. */
export const credential = "Bearer the-application-knows-this";

/** A corner of 127.0.0.0/8 of our own, so that two demos can run beside each other. */
export function choosePlaces(seed: number): Places {
  const network = `127.${64 + (seed % 128)}.${1 + ((seed >> 7) % 250)}`;
  return {
    frontend: { name: "frontend", ip: `${network}.1` },
    backend: { name: "backend", ip: `${network}.2` },
    reports: { name: "reports", ip: `${network}.3` },
    waypoint: { name: "waypoint", ip: `${network}.4` },
    newer: { name: "backend-v2", ip: `${network}.5` },
    broken: { name: "backend-v3", ip: `${network}.6` },
  };
}
