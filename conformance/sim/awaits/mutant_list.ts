/** Guards against races taken away, once for each entry, and the flow and event in which one of the checkers must notice. */
import type { Mutant } from "../mutant_list.ts";

const fresh = "a call over a new tunnel";
const warm = "a call over a tunnel that is there";
const joining = "a host joins";
const renewing = "a host renews its certificate";

export const awaitMutants: readonly Mutant[] = [
  {
    name: "a call that ended while the application was dialled is carried",
    trips: ["leak", "authorization"],
    at: { flow: "a CONNECT with its data", event: "a policy denies" },
    file: "src/proxy/inbound.ts",
    from: "if (connection.ended) {\n      socket.reset();\n      return;\n    }\n    answer(",
    to: "answer(",
  },
  {
    name: "a tunnel is taken in though trust in its peer ended during its handshake",
    trips: ["authorization"],
    at: { flow: fresh, event: "roots are replaced at the called end" },
    file: "src/proxy/tunnel/server_tunnels.ts",
    from: 'if (this.#context.trust.recheck(tunnel.peer, "ignore") !== null) tunnel.abort();\n      else if',
    to: "if",
  },
  {
    name: "a tunnel is used though trust in its peer ended while it was opened",
    trips: ["authorization"],
    at: { flow: fresh, event: "roots are replaced at the calling end" },
    file: "src/proxy/tunnel/pool.ts",
    from: "if (distrust !== null) {",
    to: "if (distrust !== null && (false as boolean)) {",
  },
  {
    name: "tunnels of the pool are not retired when their SVID is renewed",
    trips: ["identity"],
    at: { flow: warm, event: "the caller's SVID is renewed" },
    file: "src/proxy/tunnel/pool.ts",
    from: "context.secrets.subscribe((svid) => this.#retire(svid.id));",
    to: "",
  },
  {
    name: "a tunnel stays in the pool though its SVID was renewed while it was opened",
    trips: ["identity"],
    at: { flow: fresh, event: "the caller's SVID is renewed" },
    file: "src/proxy/tunnel/pool.ts",
    from: "if (this.#isRenewed(tunnel)) tunnel.close();",
    to: "",
  },
  {
    name: "tunnels that were taken in are not drained when their SVID is renewed",
    trips: ["identity"],
    at: { flow: warm, event: "the called one's SVID is renewed" },
    file: "src/proxy/tunnel/server_tunnels.ts",
    from: "context.secrets.subscribe((svid) => this.#retire(svid));",
    to: "",
  },
  {
    name: "a tunnel is kept though its SVID was renewed during its handshake",
    trips: ["identity"],
    at: { flow: "a handshake that takes its time", event: "the called one's SVID is renewed" },
    file: "src/proxy/tunnel/server_tunnels.ts",
    from: "else if (this.#draining || this.#isRenewed(tunnel)) tunnel.drain();",
    to: "else if (this.#draining) tunnel.drain();",
  },
  {
    name: "a host that was replaced while it waited for its turn is not looked at again",
    trips: ["records", "identity"],
    at: { flow: renewing, event: "another host takes its place" },
    file: "src/control/ca/renewal_service.ts",
    from: "this.#recheck(caller);\n    const { id, node, registration } = caller;",
    to: "const { id, node, registration } = caller;",
  },
  {
    name: "a host that was revoked while its renewal was signed is given it",
    trips: ["authorization"],
    at: { flow: renewing, event: "the host is revoked" },
    file: "src/control/ca/renewal_service.ts",
    from: "this.#recheck(caller);\n      this.#keep(",
    to: "this.#keep(",
  },
  {
    name: "a certificate whose owner was revoked while it was signed is recorded as good",
    trips: ["identity"],
    at: { flow: renewing, event: "the host is revoked" },
    file: "src/control/keys/mesh_authority.ts",
    from: "refusal: () => this.#refusal(request.id.uri, requestedBy, replaces),",
    to: "refusal: () => null,",
  },
  {
    name: "a token that was revoked while its host was signed for is taken",
    trips: ["authorization", "durability"],
    at: { flow: joining, event: "its token is revoked" },
    file: "src/control/ca/join_service.ts",
    from: 'if (typeof redeemed === "string") throw',
    to: 'if (typeof redeemed === "string" && (false as boolean)) throw',
  },
];
