/**
 * How fast a tenant changes the mesh. Each change costs the whole mesh something: a version, rows of the audit log, a push to all nodes. What takes
 * trust away has a rate of its own, so that changes cannot use it up; who may change the whole mesh has none.
 */
import { controlAdminLimits } from "../../base/limits/control.ts";
import { KeyedBuckets } from "../../base/token_bucket.ts";
import { Problem } from "./problem.ts";
import { allowedNamespaces } from "./roles.ts";
import type { Session } from "./session.ts";

export class ChangeRates {
  readonly #changes = new KeyedBuckets(controlAdminLimits.changeRate, controlAdminLimits.maxRateKeys);
  readonly #withdrawals = new KeyedBuckets(controlAdminLimits.withdrawalRate, controlAdminLimits.maxRateKeys);

  /** Of a namespace that the caller may change: two administrators of a tenant have one rate. @throws Problem 429. */
  charge(session: Session, method: string, path: string): void {
    if (method !== "POST" && method !== "DELETE") return;
    if (session.mayInMesh("documents.write")) return;
    const isWithdrawal = takesTrust(method, path);
    const buckets = isWithdrawal ? this.#withdrawals : this.#changes;
    const rate = isWithdrawal ? controlAdminLimits.withdrawalRate : controlAdminLimits.changeRate;
    const nowMs = session.sources.clock.now();
    const namespaces = allowedNamespaces(session.grants, "documents.write");
    const keys =
      namespaces === "all" || namespaces.size === 0
        ? [`caller ${session.name}`]
        : [...namespaces].map((namespace) => `namespace ${namespace}`);
    // The first that has room: another administrator of one of them does not hold up who has others as well.
    if (keys.some((key) => buckets.take(key, nowMs))) return;
    const retryAfterSeconds = Math.ceil(1 / rate.perSecond);
    throw new Problem(
      429,
      `${keys.join(", ").slice(0, maxNamedChars)} asked for more than ${rate.burst} changes in a short time; try again in ${retryAfterSeconds} s`,
      { retryAfterSeconds },
    );
  }
}

const maxNamedChars = 200;

function takesTrust(method: string, path: string): boolean {
  if (method === "POST") return path === "/v1/revocations";
  return path.startsWith("/v1/nodes/") || path.startsWith("/v1/join-tokens/");
}
