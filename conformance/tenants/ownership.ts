/** What one tenant tries to take from the other: names, addresses, nodes. */

import { IpAddress } from "../../src/base/ip.ts";
import type { MeshStore } from "../../src/mesh/store/store.ts";
import { comesTrue } from "../peer/lab/eventually.ts";
import { endpoint, gateway, grant, group, service, vip, workload } from "./documents.ts";
import type { Answer, World } from "./world.ts";

export type Check = (name: string, run: () => Promise<string | null>) => Promise<void>;

/** Refused for who is not its owner, with the owner's name, and with no word of what else the owner has. */
export function refusedAsOf(answer: Answer, owner: string): string | null {
  if (answer.status !== 403) return `answered ${answer.status}: ${answer.text}`;
  if (!answer.text.includes(owner)) return `does not say ${owner}: ${answer.text}`;
  return answer.text.includes("shop-secret") ? `tells what the other has: ${answer.text}` : null;
}

function applied(answer: Answer): string | null {
  return answer.status === 200 && answer.json.applied === true
    ? null
    : `answered ${answer.status}: ${answer.text}`;
}

export async function ownershipCases(world: World, check: Check): Promise<void> {
  const { root, shop, apes } = world;
  const must = async (answer: Promise<Answer>): Promise<void> => {
    const problem = applied(await answer);
    if (problem !== null) throw new Error(problem);
  };
  await must(
    shop.apply(
      service("shop/shop-secret", "api.shop.example"),
      vip("shop/shop-secret-vip", "10.8.0.0/24"),
      workload("shop/shop-secret-db", "10.9.0.5"),
      group("shop/shop-secret-batch"),
    ),
  );
  await must(apes.apply(group("apes/batch")));
  await must(root.apply(workload("shop/on-edge", "10.9.0.20", "edge-1", "cart")));
  const edge = await world.join(root, { kind: "node", node: "edge-1" }, { addresses: ["10.9.0.20"] });
  if (typeof edge === "string") throw new Error(edge);

  await check("a host name of another tenant", async () =>
    refusedAsOf(await apes.apply(service("apes/api", "api.shop.example")), "namespace shop"),
  );
  await check("a host name of another tenant, with a creationTimestamp of long ago", async () =>
    refusedAsOf(
      await apes.apply(
        service("apes/api", "api.shop.example", "", ', creationTimestamp: "2001-01-01T00:00:00Z"'),
      ),
      "namespace shop",
    ),
  );
  await check("a host name that holds another tenant's namespace", async () =>
    refusedAsOf(await apes.apply(service("apes/db", "db.shop.svc.cluster.local")), "namespace shop"),
  );
  await check("a wildcard over another tenant's name", async () =>
    refusedAsOf(await apes.apply(service("apes/all", "*.shop.example")), "namespace shop"),
  );
  await check("a wildcard over every name of a domain", async () =>
    refusedAsOf(await apes.apply(service("apes/all", "*.example")), "an administrator of the mesh"),
  );
  await check("the refusal names the document, the line and the column", async () => {
    const { json } = await apes.apply(service("apes/api", "api.shop.example"));
    const [error] = json.errors as { location: Record<string, unknown>; resource: string }[];
    const found = JSON.stringify([error?.resource, error?.location]);
    const wanted = JSON.stringify(["ServiceEntry apes/api", { file: "apes_0.yaml", line: 4, column: 16 }]);
    return found === wanted ? null : found;
  });
  await check(
    "whose name is first by the alphabet is not canonical for it: who came first is, at every node",
    async () => {
      await must(root.apply(service("apes/shared", "api.shop.example")));
      const canonical = (): readonly string[] =>
        [...edge.store.services()]
          .filter((one) => one.hostname === "api.shop.example")
          .map((one) => `${one.namespace} ${one.canonical}`)
          .sort();
      const isThere = await comesTrue(() => canonical().length === 2);
      await must(shop.apply(service("shop/shop-secret", "api.shop.example", ", location: MESH_EXTERNAL")));
      await Bun.sleep(200);
      const found = canonical().join(", ");
      await must(root.delete("ServiceEntry apes/shared"));
      return isThere && found === "apes false, shop true" ? null : found;
    },
  );
  await check("a range over half of the Internet", async () =>
    refusedAsOf(await apes.apply(vip("apes/vip", "8.0.0.0/7")), "an administrator of the mesh"),
  );
  await check("a range over another tenant's workload", async () =>
    refusedAsOf(await apes.apply(vip("apes/vip", "10.9.0.0/24")), "namespace shop"),
  );
  await check("an address within another tenant's range", async () =>
    refusedAsOf(await apes.apply(vip("apes/vip", "10.8.0.9")), "namespace shop"),
  );
  await check("a workload within another tenant's range", async () =>
    refusedAsOf(await apes.apply(workload("apes/x", "10.8.0.9")), "namespace shop"),
  );
  await check("a workload at another tenant's address", async () =>
    refusedAsOf(await apes.apply(workload("apes/x", "10.9.0.5")), "namespace shop"),
  );
  await check("an endpoint at another tenant's address", async () =>
    refusedAsOf(await apes.apply(endpoint("apes/x", "10.9.0.5")), "namespace shop"),
  );
  await check("a workload at the address of a node of the mesh", async () => {
    await must(root.delete("WorkloadEntry shop/on-edge"));
    const problem = refusedAsOf(await apes.apply(workload("apes/x", "10.9.0.20")), "the mesh");
    await must(root.apply(workload("shop/on-edge", "10.9.0.20", "edge-1", "cart")));
    return problem;
  });
  await check("a workload at the control plane's address, or every host's own", async () => {
    for (const address of ["127.0.0.1", "169.254.169.254", "::1"]) {
      const problem = refusedAsOf(
        await apes.apply(workload("apes/x", address)),
        "an administrator of the mesh",
      );
      if (problem !== null) return problem;
    }
    return null;
  });
  await check("a thousand workloads on another's node", async () => {
    const many = Array.from({ length: 1_000 }, (_, index) =>
      workload(`apes/w${index}`, `10.77.${index >> 8}.${index & 255}`, "edge-1"),
    );
    return refusedAsOf(await apes.apply(many.join("---\n")), "node edge-1 belongs to the mesh");
  });
  await check("a workload on a node that has not joined yet", async () =>
    refusedAsOf(await apes.apply(workload("apes/x", "10.7.0.1", "edge-9")), "the mesh"),
  );
  await check("the way to another network", async () =>
    refusedAsOf(await apes.apply(gateway("apes/gw", "10.7.0.1", "far")), "the mesh"),
  );
  await check("a grant, which only an administrator of the mesh makes", async () => {
    const answer = await apes.apply(grant("mine", "{namespaces: [apes], addressRanges: [0.0.0.0/0]}"));
    return answer.status === 403 ? null : `answered ${answer.status}`;
  });
  await check("what a grant gives is that tenant's, and not the other's, whoever writes it", async () => {
    await must(
      root.apply(grant("zoo", "{namespaces: [apes], addressRanges: [10.64.0.0/16], nodes: [edge-1]}")),
    );
    await must(apes.apply(vip("apes/vip", "10.64.0.0/16"), workload("apes/x", "10.64.0.1", "edge-1")));
    for (const who of [shop, root]) {
      const problem = refusedAsOf(
        await who.apply(workload("shop/x", "10.64.0.9")),
        "granted to namespace apes",
      );
      if (problem !== null) return problem;
    }
    return null;
  });
  await check("a grant of what the other tenant has is refused, with who and where", async () => {
    const { status, text } = await root.apply(
      grant("taken", '{namespaces: [apes], hosts: ["*.shop.example"]}'),
    );
    return status === 403 && text.includes("ServiceEntry shop/shop-secret at shop_0.yaml:4:16") ? null : text;
  });
  await members(world, check, edge.store);
}

async function members(world: World, check: Check, mesh: MeshStore): Promise<void> {
  const { root, shop, apes } = world;
  const at = (address: string): string =>
    [...mesh.workloads()]
      .filter((one) => one.addresses.some(({ text }) => text === address))
      .map(({ namespace }) => namespace)
      .join(" ");
  await root.apply(
    grant("members", "{namespaces: [shop, apes], addressRanges: [10.10.0.0/24]}"),
    grant("own", "{namespaces: [shop], addressRanges: [10.11.0.0/24]}"),
  );
  await check("a member of a group is where a grant lets it be", async () => {
    const joined = await world.join(
      shop,
      { kind: "group", group: "shop/shop-secret-batch" },
      { addresses: ["10.10.0.7"], node: "zebra" },
    );
    if (typeof joined === "string") return joined;
    return (await comesTrue(() => at("10.10.0.7") === "shop")) ? null : `it is ${at("10.10.0.7")}`;
  });
  // Their own, and first by the alphabet: at every node the address stays with who came first.
  await check("a document of the same tenant, or of the mesh, at its member's address", async () => {
    const thief = workload("shop/aardvark", "10.10.0.7", "", "thief");
    for (const who of [shop, root]) {
      const { status, text } = await who.apply(thief);
      if (status !== 422 || !text.includes("a host that has joined")) return `${status} ${text}`;
    }
    const ip = IpAddress.parse("10.10.0.7");
    const there = ip === null ? null : mesh.workloadByAddress("", ip);
    return there?.name === "shop-secret-batch-zebra" ? null : `nodes see ${there?.name} there`;
  });
  await check("another member of the same group at its address", async () => {
    const joined = await world.join(
      shop,
      { kind: "group", group: "shop/shop-secret-batch" },
      { addresses: ["10.10.0.7"], node: "aardvark" },
    );
    if (typeof joined === "string" && !joined.includes("10.10.0.7")) return joined;
    await Bun.sleep(300);
    const ip = IpAddress.parse("10.10.0.7");
    const there = ip === null ? null : mesh.workloadByAddress("", ip);
    return there?.name === "shop-secret-batch-zebra" ? null : `nodes see ${there?.name} there`;
  });
  const refused = async (address: string, word: string): Promise<string | null> => {
    // By the alphabet this host and its group would come first.
    const joined = await world.join(
      apes,
      { kind: "group", group: "apes/batch" },
      { addresses: [address], node: "aardvark" },
    );
    if (typeof joined !== "string") return "it joined";
    if (!joined.includes(word)) return joined;
    return at("10.10.0.7") === "shop" ? null : "the other's member is gone";
  };
  await check("a later member that says another's address does not evict it", () =>
    refused("10.10.0.7", "10.10.0.7 belongs to namespace shop"),
  );
  await check("a member that says another tenant's workload is its own", () =>
    refused("10.9.0.5", "neither the address that the host connects from"),
  );
  await check("a member that says an address of a range that another was granted", () =>
    refused("10.11.0.9", "neither the address that the host connects from"),
  );
  await check("a member that says any address at all", () =>
    refused("203.0.113.9", "neither the address that the host connects from"),
  );
  await check("a document at the address of another tenant's member", async () =>
    refusedAsOf(await apes.apply(workload("apes/thief", "10.10.0.7")), "namespace shop"),
  );
}
