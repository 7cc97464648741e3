/** What one tenant tries with trust: lifting, replacing, revoking, reading. */
import { group, workload } from "./documents.ts";
import type { Check } from "./ownership.ts";
import { type Answer, issuerOfPeople, type World } from "./world.ts";

const cart = "spiffe://cluster.local/ns/shop/sa/cart";

function status(answer: Answer, wanted: number): string | null {
  return answer.status === wanted ? null : `answered ${answer.status}: ${answer.text}`;
}

export async function trustCases(world: World, check: Check): Promise<void> {
  const { root, shop, apes, control } = world;
  const lift = (kind: string, value: string) => `/v1/revocations/${kind}/${encodeURIComponent(value)}`;

  await check("a revocation by the mesh's administrator is not lifted by the tenant", async () => {
    await root.ask("POST", "/v1/revocations", { kind: "identity", value: cart });
    const answer = await shop.ask("DELETE", lift("identity", cart));
    return status(answer, 403) ?? (answer.text.includes("an administrator of the mesh") ? null : answer.text);
  });
  await check("nor when the tenant had revoked it first, or revokes it again", async () => {
    const other = cart.replace("cart", "till");
    await shop.ask("POST", "/v1/revocations", { kind: "identity", value: other });
    await root.ask("POST", "/v1/revocations", { kind: "identity", value: other });
    await shop.ask("POST", "/v1/revocations", { kind: "identity", value: other });
    return status(await shop.ask("DELETE", lift("identity", other)), 403);
  });
  await check("the mesh's administrator lifts it; what a tenant revoked the tenant does", async () => {
    const own = cart.replace("cart", "own");
    await shop.ask("POST", "/v1/revocations", { kind: "identity", value: own });
    return (
      status(await root.ask("DELETE", lift("identity", cart)), 204) ??
      status(await shop.ask("DELETE", lift("identity", own)), 204)
    );
  });
  await check("another tenant's identity is not revoked, nor lifted", async () => {
    const made = await apes.ask("POST", "/v1/revocations", { kind: "identity", value: cart });
    return status(made, 403) ?? status(await apes.ask("DELETE", lift("identity", cart)), 404);
  });
  await check(
    "a host that the mesh revoked does not come back by a tenant's token with --replace",
    async () => {
      await root.apply(workload("shop/back", "10.12.0.1", "", "back"));
      const binding = { kind: "workload", workload: "shop/back" };
      const first = await world.join(shop, binding);
      if (typeof first === "string") return first;
      await root.ask("POST", "/v1/revocations", { kind: "node", value: first.node, reason: "stolen" });
      const again = await world.join(shop, binding, { replace: true });
      if (typeof again !== "string") return "it joined";
      if (!again.includes("was revoked by an administrator of the mesh")) return again;
      if (!(await root.revocations()).includes(first.node)) return "the revocation is gone";
      const byRoot = await world.join(root, binding, { replace: true });
      return typeof byRoot === "string" ? byRoot : null;
    },
  );
  await check("--lift says what is so: a host joins again, an identity is issued again", async () => {
    await root.ask("POST", "/v1/revocations", { kind: "node", value: "edge-1" });
    const host = await control.command("revoke", "--node", "edge-1", "--lift");
    await root.ask("POST", "/v1/revocations", { kind: "identity", value: cart });
    const identity = await control.command("revoke", cart, "--lift");
    if (!host.err.includes("has to join again, with a new token")) return host.err;
    return identity.err.includes("It gets new certificates again") ? null : identity.err;
  });
  await check("an operator's token is refused by its id, and an operator by the subject", async () => {
    if ((await apes.ask("GET", "/v1/status")).status !== 200) return "it was not good before";
    const value = `${issuerOfPeople}#apes-1`;
    const made = await root.ask("POST", "/v1/revocations", { kind: "token", value });
    if (made.status !== 201) return made.text;
    const refused = await apes.ask("GET", "/v1/status");
    const other = await shop.ask("GET", "/v1/status");
    await root.ask("DELETE", lift("token", value));
    const operator = `${issuerOfPeople}#apes`;
    await root.ask("POST", "/v1/revocations", { kind: "operator", value: operator });
    const bySubject = await apes.ask("GET", "/v1/status");
    await root.ask("DELETE", lift("operator", operator));
    const back = await apes.ask("GET", "/v1/status");
    const found = [refused, other, bySubject, back].map((answer) => answer.status).join(" ");
    return found === "401 200 401 200" ? null : found;
  });
  await check("a tenant revokes no operator and no token", async () => {
    const value = `${issuerOfPeople}#shop`;
    const answer = await apes.ask("POST", "/v1/revocations", { kind: "operator", value });
    return answer.status === 404 || answer.status === 403 ? null : answer.text;
  });
  await check("what another tenant has is not there", async () => {
    for (const path of [
      "/v1/documents/ServiceEntry/shop/shop-secret",
      "/v1/documents?namespace=shop",
      "/v1/nodes/zebra",
      lift("identity", cart),
    ]) {
      const problem = status(await apes.ask(path.includes("revocations") ? "DELETE" : "GET", path), 404);
      if (problem !== null) return `${path} ${problem}`;
    }
    const seen = await apes.ask("GET", "/v1/documents");
    return seen.text.includes("shop-secret") ? seen.text : null;
  });
  await check("a tenant's group does not stand for the control plane", async () => {
    const answer = await apes.apply(group("istio-system/mine", "fairlead-control"));
    const asRoot = await root.apply(group("istio-system/mine", "fairlead-control"));
    return (
      status(answer, 403) ?? (asRoot.text.includes("the control plane's own identity") ? null : asRoot.text)
    );
  });
}
