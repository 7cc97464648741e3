/** Policies in dry run say in the log what they would have done. */
import { formatSocketAddress } from "../../base/ip.ts";
import type { Logger } from "../../base/log.ts";
import type { PolicyEngine } from "../../policy/policy_engine.ts";

export function reportDryRuns(engine: Pick<PolicyEngine, "onDryRun">, logger: Logger): void {
  engine.onDryRun = (policy, rule, action, connection) =>
    logger.log("info", "policy", `dry run: would have been ${action === "DENY" ? "denied" : "allowed"}`, {
      policy,
      rule,
      action,
      source: connection.sourceIdentity?.uri ?? connection.sourceIp.text,
      "dst.addr": formatSocketAddress({ ip: connection.destinationIp, port: connection.destinationPort }),
    });
}
