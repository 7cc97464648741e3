/** What is not flat, a line each: by how much, and what it comes from. */
import { significant } from "../tables/cells.ts";
import type { Summaries, Summary } from "../tunnel/report.ts";
import { columns } from "./table.ts";

/** Beyond so many times the base, and beyond what its rounds differ by, a figure has grown. */
const grownFrom = 1.5;

interface Reason {
  /** Of the row's name. */
  readonly row: RegExp;
  /** Of the measure's. */
  readonly measure: RegExp;
  readonly because: string;
}

/** The first that fits is told. What no line is about is told as that. */
const reasons: readonly Reason[] = [
  {
    row: /a change a second/,
    measure: /^p99|new connection p99/,
    because:
      "documents are read, converted and compared in slices of a few milliseconds, and requests wait for the one that is running",
  },
  {
    row: /,000 services.*a change a second/,
    measure: /CPU/,
    because:
      "a node with files holds all documents against each other at each change (one address, one host name, one key), in slices; by a control plane a change costs what has changed",
  },
  {
    row: /a change a second/,
    measure: /CPU/,
    because: "each second the files are read twice, and each open connection is decided again",
  },
  {
    row: /a change a second/,
    measure: /MB/,
    because: "what was made of the version before is garbage until the collector has been there",
  },
  { row: /,000 connections/, measure: /MB/, because: "what each open connection keeps" },
  {
    row: /0 connections/,
    measure: /CPU us|p99/,
    because: "the connection whose turn it is has left the processor's caches since its last one",
  },
  {
    row: /0 connections/,
    measure: /idle/,
    because: "the collector goes through what the connections, just opened, have left",
  },
  {
    row: /,000 services/,
    measure: /until ready/,
    because: "each document is parsed, checked and converted once, a third of a millisecond",
  },
  {
    row: /,000 services/,
    measure: /MB/,
    because: "what each service, its workload, its policy and their documents keep",
  },
  {
    row: /,000 services/,
    measure: /longest turn/,
    because:
      "the policies of a namespace are compiled at the first connection that they hold for, in one turn",
  },
  {
    row: /,000 services/,
    measure: /idle/,
    because: "the collector goes through what reading the documents has left",
  },
  { row: /0 peers/, measure: /MB/, because: "each peer has a tunnel: TLS, HTTP/2 and buffers at both ends" },
  {
    row: /0 peers/,
    measure: /until ready|idle/,
    because: "each caller's workload is a document, and has a certificate of its own",
  },
  {
    row: /0 peers/,
    measure: /CPU us|p99/,
    because:
      "requests that are out at one time share a write and a TLS record where they share a tunnel; with a tunnel each they do not",
  },
];

/** @param summaries of subjects that are called `subject: point`; the first point of each is its base. */
export function curve(summaries: Summaries): readonly string[] {
  const bases = new Map<string, ReadonlyMap<string, Summary>>();
  const lines: string[] = [];
  for (const [name, measures] of summaries) {
    const [subject = "", row = ""] = name.split(": ");
    const base = bases.get(subject);
    if (base === undefined) {
      bases.set(subject, measures);
      continue;
    }
    for (const [said, measure, hasRoles] of columns) {
      const grown = (hasRoles ? [" outbound", " inbound"] : [""]).flatMap((role) => {
        const [before, now] = [base.get(`${measure}${role}`), measures.get(`${measure}${role}`)];
        return before !== undefined && now !== undefined && hasGrown(before, now)
          ? [`${significant(now.median / before.median)}x${role}`]
          : [];
      });
      if (grown.length > 0)
        lines.push(`- ${subject}, ${row}: ${said} ${grown.join(", ")}. ${why(subject, row, measure)}`);
    }
  }
  return lines;
}

function hasGrown(base: Summary, now: Summary): boolean {
  return base.median > 0 && now.median > grownFrom * base.median && now.min > base.max;
}

function why(subject: string, row: string, measure: string): string {
  if (subject !== "fairlead") return "Not looked into.";
  const reason = reasons.find((each) => each.row.test(row) && each.measure.test(measure));
  if (reason === undefined) return "Not explained.";
  return `${reason.because.charAt(0).toUpperCase()}${reason.because.slice(1)}.`;
}
