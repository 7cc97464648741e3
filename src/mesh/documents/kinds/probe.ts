/** A WorkloadGroup's readiness probe (Istio `validateReadinessProbe`): nothing carries it out here, and yet it must be one. */
import { type Located, type ObjectReader, type Problems, quote, readString } from "../reader.ts";

const times = [
  "initialDelaySeconds",
  "timeoutSeconds",
  "periodSeconds",
  "successThreshold",
  "failureThreshold",
];
/** Istio's schema has `grpc`; its validation refuses it. */
const probeMethods = ["httpGet", "tcpSocket", "exec"];
const fields = {
  known: [...times, ...probeMethods],
  unsupported: { grpc: "Istio's validation refuses it, too; use httpGet, tcpSocket or exec" },
};
const httpFields = { known: ["path", "port", "host", "scheme", "httpHeaders"] };
const headerName = /^[-A-Za-z0-9]+$/;
const maxInt32 = 0x7fff_ffff;

export function checkProbe(spec: ObjectReader, problems: Problems): void {
  const probe = spec.object("probe", fields);
  if (probe === null) return;
  for (const field of times) probe.integer(field, 0, maxInt32);
  const methods = probeMethods.filter((field) => probe.has(field));
  const [method, another] = methods;
  if (another !== undefined)
    problems.add(
      probe.where(another),
      `${probe.name} has both ${method} and ${another}; it takes one`,
      another,
    );
  if (method === undefined && !probe.has("grpc"))
    problems.add(probe.at, `${probe.name} has no method, which is one of ${probeMethods.join(", ")}`);
  checkHttp(probe.object("httpGet", httpFields), problems);
  const socket = probe.object("tcpSocket", { known: ["host", "port"] });
  if (socket !== null) checkPort(socket, problems);
  socket?.string("host");
  const exec = probe.object("exec", { known: ["command"] });
  if (exec !== null) checkCommand(exec, problems);
}

function checkHttp(http: ObjectReader | null, problems: Problems): void {
  if (http === null) return;
  checkPort(http, problems);
  for (const field of ["path", "host"]) http.string(field);
  if (http.string("scheme")?.value !== "") http.choice("scheme", ["HTTP", "HTTPS"]);
  for (const header of http.objects("httpHeaders", { known: ["name", "value"] })) {
    const name: Located<string> | null = header.requiredString("name");
    header.string("value");
    if (name !== null && !headerName.test(name.value))
      problems.add(
        name.at,
        `${header.path("name")}: ${quote(name.value)} is not the name of a header`,
        name.value,
      );
  }
}

function checkPort(reader: ObjectReader, problems: Problems): void {
  if (!reader.has("port")) problems.add(reader.at, `${reader.path("port")} is missing`);
  reader.integer("port", 1, 65535);
}

function checkCommand(exec: ObjectReader, problems: Problems): void {
  const words = exec.list("command");
  if (words.length === 0) problems.add(exec.where("command"), `${exec.path("command")} is missing or empty`);
  words.forEach((node, index) => {
    const word = readString(node, `${exec.path("command")}[${index}]`, problems);
    if (word?.value === "") problems.add(word.at, `${exec.path("command")} has an empty value`);
  });
}
