/** What is on the machines of a mesh before a node runs there. */
import type { CertificateAuthority } from "../../src/pki/issue/ca.ts";
import { revocationList } from "./authority.ts";
import type { SimulatedMachine } from "./node.ts";
import { applicationListens, crlPath, pkiFolder } from "./node_config.ts";
import { type ServerObserver, serve } from "./server.ts";
import { bannerPort, serverPort } from "./workloads.ts";

/** The CA of a mesh without a control plane, and its empty revocation list. */
export async function writeAuthority(
  machines: readonly SimulatedMachine[],
  authority: CertificateAuthority,
): Promise<void> {
  const pem = authority.exportPem();
  const crl = await revocationList(authority, [], 1);
  for (const { machine } of machines) {
    machine.disk.write(`${pkiFolder}/ca.pem`, pem.certificatePem);
    machine.disk.write(`${pkiFolder}/key.pem`, pem.privateKeyPem);
    machine.disk.write(`${pkiFolder}/root.pem`, pem.rootsPem);
    machine.disk.write(crlPath, crl);
  }
}

export function startApplications(machines: readonly SimulatedMachine[], observer: ServerObserver): void {
  for (const machine of machines)
    machine.plan.workloads.forEach((workload, index) => {
      for (const port of [serverPort, bannerPort]) {
        const listens = applicationListens(machine.plan, index, port);
        serve(machine.applications, listens, workload, port === bannerPort, observer);
      }
    });
}
