/** An explanation as lines for an operator; read as JSON, since a node of another version may have given it. */
import { type Json, list, member, number, text } from "../admin_json.ts";
import { formatDuration } from "../age.ts";
import type { Style } from "../style.ts";

/** @returns lines, the verdict first. */
export function formatExplanation(found: Json, style: Style): string {
  const verdict = text(found, "verdict");
  const paint = verdict === "allowed" ? style.green : verdict === "denied" ? style.red : style.yellow;
  const lines = [
    `${paint(verdictWords[verdict] ?? verdict)}: ${text(found, "from")} → ${text(found, "to")}`,
    line("identity", text(found, "identity") === "-" ? "none (plain text)" : text(found, "identity")),
    line("route", text(found, "route")),
  ];
  if (member(found, "refusal") !== null) lines.push(line("because", text(found, "refusal")));
  const waypoint = member(found, "waypoint");
  if (waypoint !== null && waypoint !== undefined) lines.push(...waypointLines(waypoint));
  for (const arrival of list(found, "arrivals")) lines.push(...arrivalLines(arrival));
  return `${lines.join("\n")}\n`;
}

const verdictWords: Readonly<Record<string, string>> = {
  allowed: "allowed",
  denied: "denied",
  mixed: "allowed by some endpoints only",
  depends: "depends on the request",
};

function waypointLines(waypoint: Json): readonly string[] {
  const why = `${text(waypoint, "workload")}: ${text(waypoint, "because")}`;
  return [line("waypoint", why), ...policyLines(waypoint)];
}

function policyLines(trace: Json): readonly string[] {
  return list(trace, "policies").map((policy) => {
    const dry = member(policy, "dryRun") === true ? ", in dry run" : "";
    const words = `${text(policy, "action")} ${text(policy, "document")} (${place(policy)}${dry})`;
    return line("", `${words}: ${text(policy, "outcome")}`);
  });
}

function arrivalLines(arrival: Json): readonly string[] {
  const where = [text(arrival, "workload"), text(arrival, "address")]
    .filter((word) => word !== "-")
    .join(" ");
  const trace = member(arrival, "trace");
  if (trace === null || trace === undefined) {
    const requests = requestLines(arrival);
    if (requests.length > 0) return [line("at", where), ...requests];
    return [
      line("at", where === "" ? "wherever the name leads" : where),
      line(
        "",
        member(arrival, "workload") === null
          ? "outside of the mesh: no policy decides there"
          : "the workload has no tunnel (networking.istio.io/tunnel: http): no policy decides there",
      ),
    ];
  }
  return [line("at", where), ...traceLines(trace), ...requestLines(arrival)];
}

/** Inside the workload's own tunnel. */
function requestLines(arrival: Json): readonly string[] {
  const requests = member(arrival, "requests");
  if (requests === null || requests === undefined) return [];
  return [line("requests", text(requests, "because")), ...policyLines(requests)];
}

function traceLines(trace: Json): readonly string[] {
  return [
    line("", text(trace, "because")),
    ...list(trace, "dryRuns").map((words) => line("dry run", text(words))),
    ...list(trace, "change").map((words) => line("change", text(words))),
  ];
}

/** Of a connection that has ended: what was recorded, and what the policies of now say. */
export function formatEnded(found: Json, style: Style): string {
  const record = member(found, "connection");
  const error = member(record, "error");
  const isWell = error === null;
  const party = (side: "source" | "destination"): string => {
    const words = [
      text(record, side, "workload"),
      text(record, side, "address"),
      text(record, side, "identity"),
    ];
    return words.filter((word) => word !== "-").join(" ");
  };
  const ended = new Date(number(record, "endedAtMs"));
  const lines = [
    `${isWell ? style.green("ended well") : style.red("failed")}: connection ${text(record, "id")}, ${text(record, "direction")}`,
    line("from", party("source")),
    line("to", party("destination")),
    line("ended", `${ended.toISOString()}, after ${formatDuration(number(record, "durationMs"))}`),
  ];
  if (!isWell) lines.push(line("because", text(record, "error")));
  if (member(record, "policy") !== null) lines.push(line("let in by", text(record, "policy")));
  if (member(record, "dryRun") !== null) lines.push(line("dry run", text(record, "dryRun")));
  const now = member(found, "now");
  if (now !== null && now !== undefined) lines.push("by the policies of now:", ...traceLines(now));
  return `${lines.join("\n")}\n`;
}

function place(item: Json): string {
  return `${text(item, "location", "file")}:${text(item, "location", "line")}:${text(item, "location", "column")}`;
}

function line(title: string, words: string): string {
  return `  ${title.padEnd(10)}${words}`;
}
