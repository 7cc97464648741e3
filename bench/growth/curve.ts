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

/** Of a row's name, what has grown in it: the base has 1,000 connections, 10 services and 1 peer (`points.ts`). */
const changes = /a change a second/;
const largeChanges = /,000 services.*a change a second/;
const connections = /^10,000 connections/;
const services = /,000 services/;
const peers = /0 peers/;

/** The first that fits is told. What no line is about is told as that. */
const reasons: readonly Reason[] = [
  {
    row: largeChanges,
    measure: /CPU/,
    because:
      "a node with files holds all documents against each other at each change (one address, one host name, one key), in slices; a change by a control plane costs what has changed and, among 10,000 policies, some milliseconds",
  },
  {
    row: changes,
    measure: /CPU/,
    because: "each second the files are read twice, and each open connection is decided again",
  },
  {
    row: changes,
    measure: /p99/,
    because:
      "documents are read, converted and compared in slices of a few milliseconds, and requests wait for the one that is running",
  },
  {
    row: largeChanges,
    measure: /longest turn/,
    because:
      "a slice and a pause of the collector (15 to 23 ms with 300 MB), and as long again waiting for one of two processors, which the collector's threads and the other node have",
  },
  {
    row: largeChanges,
    measure: /MB/,
    because: "what services and policies keep, and what the collector has yet to take of the version before",
  },
  {
    row: peers,
    measure: /longest turn/,
    because:
      "callers begin and end all at one time; a third to a half of such a turn was waiting for a processor, and half of the rest the kernel's",
  },
  {
    row: peers,
    measure: /CPU us|p99/,
    because:
      "requests that are out at one time share a write and a TLS record where they share a tunnel; with a tunnel each they do not",
  },
  {
    row: peers,
    measure: /until ready/,
    because: "each caller's workload is a document, and its node makes a certificate for it",
  },
  { row: peers, measure: /MB/, because: "each peer has a tunnel: TLS, HTTP/2 and buffers at both ends" },
  {
    row: peers,
    measure: /idle/,
    because: "the collector goes through what so many handshakes have left",
  },
  {
    row: services,
    measure: /until ready/,
    because: "each document is parsed, checked and converted once, a third of a millisecond",
  },
  {
    row: services,
    measure: /MB/,
    because: "what each service, its workload, its policy and their documents keep",
  },
  {
    row: services,
    measure: /longest turn/,
    because:
      "pauses of the collector, up to 23 ms with 10,000 services; policies are compiled in slices of a few milliseconds",
  },
  {
    row: services,
    measure: /p99/,
    because:
      "a new connection is decided among as many policies, and meets pauses of the collector, up to 23 ms with 10,000 services",
  },
  {
    row: services,
    measure: /idle/,
    because: "the collector goes through what reading the documents has left",
  },
  {
    row: connections,
    measure: /longest turn/,
    because:
      "ten thousand connections end at one time, and up to 1,024 ends are taken from the kernel in one turn; of 143 ms in a run that was taken apart 85 were waiting for a processor, which the ending caller has, 55 the kernel's and 25 the program's",
  },
  { row: connections, measure: /MB/, because: "what each open connection keeps" },
  {
    row: connections,
    measure: /CPU us|p99/,
    because: "the connection whose turn it is has left the processor's caches since its last one",
  },
  {
    row: connections,
    measure: /idle/,
    because: "the collector goes through what the connections, just opened, have left",
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
