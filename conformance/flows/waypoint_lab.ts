/** A mesh with a waypoint: cart calls web, whose traffic passes `shop/waypoint` on a host of its own. */
import type { SettingName } from "../../src/config/settings.ts";
import type { Recorder } from "../../src/host/testing/recorder.ts";
import { FlowLab, type LabNode, workloadEntry } from "./lab.ts";

export const bytes = (text: string): Uint8Array =>
  Uint8Array.from(text, (character) => character.charCodeAt(0));

/** @param protocol of the service's port, as Istio names it; "" for none. */
export function webService(protocol: string, extra = ""): string {
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec:
  hosts: [web.shop]
  addresses: [10.88.0.3]
  ports: [{number: 80, name: port, ${protocol === "" ? "" : `protocol: ${protocol}, `}targetPort: 8080}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {app: web}}
---
${extra}`;
}

export const waypointEntry = `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: waypoint
  namespace: shop
  labels: {app: waypoint, istio.io/waypoint-for: all}
  annotations: {ambient.istio.io/redirection: enabled}
spec: {address: 10.0.0.9, serviceAccount: waypoint}
---
`;

export interface WaypointLab {
  readonly lab: FlowLab;
  readonly cart: LabNode;
  readonly waypoint: LabNode;
  readonly web: LabNode;
  /** Connections that the application web has accepted. */
  readonly served: readonly Recorder[];
  /** A client of cart. */
  call(): Promise<Recorder>;
}

export async function waypointLab(
  documents: string,
  onAccept?: (peer: Recorder) => void,
  cartPorts = "10.0.0.1:8080=web.shop:80",
  settings: Partial<Record<SettingName, string>> = {},
): Promise<WaypointLab> {
  const lab = await FlowLab.create();
  const mesh =
    workloadEntry("cart", "10.0.0.1") + workloadEntry("web", "10.0.0.3") + waypointEntry + documents;
  const cart = await lab.node("one", ["10.0.0.1"], mesh, { localPorts: cartPorts });
  const waypoint = await lab.node("waypoint", ["10.0.0.9"], mesh, {
    ...settings,
    waypoints: "shop/waypoint",
  });
  const web = await lab.node("two", ["10.0.0.3"], mesh);
  const served = lab.application(web.host, "10.0.0.3:8080", onAccept);
  return { lab, cart, waypoint, web, served, call: () => lab.connect(cart.host, "10.0.0.1:8080") };
}

/** An application that answers each head it reads; requests with content are the test's own business. */
export function answering(answer: (head: string) => string): (peer: Recorder) => void {
  return (peer) => {
    let unread = "";
    const record = peer.onData.bind(peer);
    peer.onData = (piece) => {
      record(piece);
      unread += String.fromCharCode(...piece);
      for (;;) {
        const end = unread.indexOf("\r\n\r\n");
        if (end === -1) return;
        const head = unread.slice(0, end);
        unread = unread.slice(end + 4);
        peer.socket.write(bytes(answer(head)));
      }
    };
  };
}

export function ok(content: string): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${content.length}\r\n\r\n${content}`;
}

/** A head as it was before each request got an id of its own. */
export function withoutId(text: string | undefined): string {
  return (text ?? "")
    .replace(/x-request-id: [0-9a-f-]{36}\r\n/g, "")
    .replace(/ x-request-id [0-9a-f-]{36}/g, "");
}
