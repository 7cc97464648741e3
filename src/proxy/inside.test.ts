import { expect, test } from "bun:test";
import type { AppProtocol, Service } from "../mesh/service.ts";
import { gatewayAt, ip, member, service, workload } from "../mesh/testing/fixture.ts";
import { mintPermit } from "../policy/decision.ts";
import { inboundPlace } from "./inside.ts";
import { FlowScene } from "./testing/flow_scene.ts";
import { at } from "./tunnel/testing/tunnel_scene.ts";

const target = at("10.0.0.2", 8080);

function speaking(
  name: string,
  protocol: AppProtocol,
  fields: Partial<Service> = {},
  targetPort = 8080,
): Service {
  return {
    ...service(name, {}, fields),
    ports: new Map([[80, { servicePort: 80, targetPort, protocol }]]),
  };
}

/** What is told of a call to a workload of these services, and of one that is not here. */
function place(services: readonly Service[], seen: Service | null = null) {
  const local = workload("web", {
    addresses: [target.ip],
    services: new Map([
      ...member("shop/gone.shop"),
      ...services.flatMap(({ hostname }) => [...member(`shop/${hostname}`)]),
    ]),
  });
  const scene = new FlowScene([local, ...services]);
  const asked = {
    sourceIp: ip("10.0.0.1"),
    sourceIdentity: null,
    destinationIp: target.ip,
    destinationPort: 8080,
  };
  const permit = mintPermit(asked, 1, null);
  return { scene, told: inboundPlace(scene.context(), { local, target, permit, seen }) };
}

test("the protocol is what all services of the port say, and unknown where they do not agree or there are none", () => {
  const [http, more, tcp] = [speaking("a", "HTTP11"), speaking("b", "HTTP11"), speaking("c", "TCP")];
  const protocols = [[http], [http, more], [http, tcp], []].map((services) => place(services).told.protocol);
  expect(protocols).toEqual(["HTTP11", "HTTP11", "UNKNOWN", "UNKNOWN"]);
});

test("it is into a workload, of the service that was seen or the first of its port; policies are of those without a waypoint", () => {
  const [one, two] = [speaking("a", "HTTP11"), speaking("b", "HTTP11", { waypoint: gatewayAt("10.0.0.9") })];
  const elsewhere = speaking("d", "TCP", {}, 9);
  const { told } = place([elsewhere, one, two]);
  expect([told.side, told.service?.name, told.targets.map(({ name }) => name)]).toEqual([
    "inbound",
    "a",
    ["a"],
  ]);
  expect(place([one, two], two).told.service?.name).toBe("b");
  expect(place([]).told.service).toBeNull();
});

test("its application is dialled by its permit, and sees none of those who share it", async () => {
  const { scene, told } = place([]);
  const connecting = told.application();
  await scene.dialled[0]?.connects();
  expect([scene.dialled[0]?.options.to, scene.dialled[0]?.options.from]).toEqual([target, undefined]);
  expect(await connecting).toBe(scene.dialled[0]?.socket as never);
});
