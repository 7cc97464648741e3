import { expect, test } from "bun:test";
import { rotationLimits } from "../../base/limits/control.ts";
import { silentLogger } from "../../base/log.ts";
import { outcomeOf } from "../../base/testing/rejection.ts";
import { Rotation } from "../rotation/rotation.ts";
import { StateWorld } from "../state/testing/simulated_state.ts";
import { OwnCertifier } from "./authority_certificate.ts";
import { describeAuthorities } from "./authority_description.ts";
import { SealedKeys } from "./key_place.ts";
import { MeshAuthority } from "./mesh_authority.ts";
import { StateAuthorities } from "./state_authorities.ts";
import { cart, issue, keyVault, newClock, nodeTrust, provider, trustDomain } from "./testing/fixture.ts";

test("authorities, revocations and rotations are in the control plane's database, also after it was killed", async () => {
  const world = new StateWorld();
  const clock = newClock();
  const common = { clock, provider, trustDomain, logger: silentLogger };
  const places = [new SealedKeys(await keyVault(), provider)] as const;
  const open = async () => {
    const state = await world.open();
    const certifier = new OwnCertifier(common);
    const records = state.authorities;
    const authorities = await StateAuthorities.open({
      ...common,
      records,
      places,
      certifier,
      firstKind: "root",
    });
    const mesh = await MeshAuthority.open({ ...common, records: state, authorities: authorities.view });
    const knowledge = { nodes: () => [], acknowledged: () => new Map<string, string>() };
    const rotation = new Rotation({ ...common, records: state, authorities, mesh, knowledge });
    return { state, authorities, mesh, rotation };
  };
  const first = await open();
  const { chain } = await issue(first.mesh, cart, "edge-1");
  await first.mesh.revoke({ kind: "node", node: "edge-1" }, "lost", "ops");
  const published = first.mesh.bundle.value;
  first.rotation.close();
  world.restart();

  const second = await open();
  expect(second.mesh.bundle.value).toEqual(published);
  const trust = await nodeTrust({ clock, mesh: second.mesh });
  expect(await outcomeOf(trust.verify(chain, { usage: "clientAuth", identities: null }))).toThrow("revoked");
  expect(second.state.certificates.byIdentity(cart.uri)).toMatchObject([{ requestedBy: "edge-1" }]);
  for (let turn = 0; turn < rotationLimits.maxRetired + 3; turn++) {
    await second.rotation.start("root");
    expect(second.rotation.finish().done).toBe(true);
  }
  await clock.advance(100);
  // Neither rows nor lists pile up.
  expect(second.state.authorities.list()).toHaveLength(rotationLimits.maxRetired + 2);
  expect(second.state.settings.all("revocation_list/").size).toBe(2);
  const [described] = await describeAuthorities(second.authorities.view.value, provider);
  expect(described).toMatchObject({ state: "active", kind: "intermediate", unavailable: null });
  expect(described?.roots[0]?.pin).toMatch(/^sha256:[0-9a-f]{64}$/);
  second.rotation.close();
});
