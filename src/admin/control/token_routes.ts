/** Join tokens: a workload's or a group's is its namespace's; a node may run workloads of many, so its token is the mesh's. */

import type { TokenBinding } from "../../control/records/tokens.ts";
import { Problem } from "./problem.ts";
import { type JsonFields, readJson } from "./request_body.ts";
import type { ControlApp } from "./route.ts";
import { notFound } from "./session.ts";
import type { TokenEntry } from "./sources.ts";

export function addTokenRoutes(app: ControlApp): void {
  app.get("/v1/join-tokens", (context) => {
    const session = context.get("session");
    session.visible("tokens.read");
    const tokens = session.sources.tokens
      .list()
      .filter((one) => session.may("tokens.read", bindingNamespace(one.binding)));
    return context.json({ tokens: tokens.map(describe) });
  });
  app.post("/v1/join-tokens", async (context) => {
    const session = context.get("session");
    session.visible("tokens.create");
    const body = await readJson(context, ["binding", "ttlMs", "replace"]);
    const binding = readBinding(body.fields("binding", ["kind", "node", "workload", "group"]));
    const namespace = bindingNamespace(binding);
    session.demand("tokens.create", namespace, bindingText(binding));
    const ttlMs = body.optionalInteger("ttlMs");
    const replace = body.flag("replace");
    const made = await session.recorded(
      "tokens.create",
      bindingText(binding),
      namespace,
      () =>
        session.sources.tokens.create({
          binding,
          replace,
          createdBy: session.name,
          byNamespace: session.rightTo("tokens.create", namespace),
          ...(ttlMs === null ? {} : { ttlMs }),
        }),
      // The secret is told once, and is not written down.
      ({ id, expiresAtMs }) => ({
        detail: `token ${id}${replace ? ", may replace" : ""}`,
        after: JSON.stringify({ id, binding, replace, expiresAtMs }),
      }),
    );
    const { id, expiresAtMs, token, line } = made;
    return context.json({ id, binding, expiresAtMs, token, line }, 201);
  });
  app.delete("/v1/join-tokens/:id", (context) => {
    const session = context.get("session");
    const id = context.req.param("id");
    const target = `join token ${id}`;
    const token = session.sources.tokens.list().find((one) => one.id === id);
    const namespace = token === undefined ? null : bindingNamespace(token.binding);
    session.see("tokens.read", namespace, target);
    if (token === undefined) throw notFound(target);
    session.demand("tokens.revoke", namespace, target);
    if (token.usedAtMs !== null)
      throw session.refuse(
        409,
        "tokens.revoke",
        target,
        namespace,
        `${target} was used by ${token.usedBy ?? "a host"}; revoke the node instead`,
      );
    if (token.revokedAtMs === null)
      session.sources.transaction(() => {
        session.sources.tokens.revoke(id);
        session.sources.audit.append(
          session.entry("tokens.revoke", target, namespace, { before: bindingText(token.binding) }),
        );
      });
    return context.body(null, 204);
  });
}

function readBinding(fields: JsonFields): TokenBinding {
  const kind = fields.oneOf("kind", ["node", "workload", "group"]);
  const name = fields.text(kind);
  if (kind === "node") return { kind, node: name };
  if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\/[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(name))
    throw new Problem(400, `"${kind}" must be namespace/name`);
  return kind === "workload" ? { kind, workload: name } : { kind, group: name };
}

/** Null: of no single namespace. */
export function bindingNamespace(binding: TokenBinding): string | null {
  if (binding.kind === "node") return null;
  return (binding.kind === "workload" ? binding.workload : binding.group).split("/")[0] ?? null;
}

export function bindingText(binding: TokenBinding): string {
  if (binding.kind === "node") return `node ${binding.node}`;
  return binding.kind === "workload" ? `workload ${binding.workload}` : `group ${binding.group}`;
}

/** Field by field: a stored token has a hash of its secret, which is never shown. */
function describe(token: TokenEntry): unknown {
  const { id, binding, createdAtMs, expiresAtMs, createdBy, replace, usedAtMs, usedBy, revokedAtMs } = token;
  return { id, binding, createdAtMs, expiresAtMs, createdBy, replace, usedAtMs, usedBy, revokedAtMs };
}
