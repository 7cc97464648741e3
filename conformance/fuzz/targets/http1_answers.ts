/** Answers of HTTP/1.1, by both of their readers: the waypoint's, which passes them on, and the client's of the host, which keeps them. */
import { MeshError } from "../../../src/base/errors.ts";
import { HttpAnswer } from "../../../src/wire/h1/answer.ts";
import { H1ClientMachine } from "../../../src/wire/h1/client_machine.ts";
import { encodeAnswer } from "../../../src/wire/h1/message_writer.ts";
import { answerFields } from "../../../src/wire/h1/request_rules.ts";
import { bytesOf, holds, type Look, latin1, readCut, same, type Target } from "../target.ts";

interface Passed {
  readonly interim: number[];
  status: number | null;
  fields: readonly string[];
  content: string;
  trailers: readonly string[] | null;
  isWhole: boolean;
  isCutShort: boolean;
  fault: string | null;
}

function pass(parts: readonly Uint8Array[], method: string, mayUpgrade: boolean): Passed {
  const passed: Passed = {
    interim: [],
    status: null,
    fields: [],
    content: "",
    trailers: null,
    isWhole: false,
    isCutShort: false,
    fault: null,
  };
  const machine = new H1ClientMachine({
    onInterim: ({ status }) => passed.interim.push(status),
    onAnswer: ({ status, fields }) => {
      holds(passed.status === null, "there is one answer");
      passed.status = status;
      passed.fields = fields;
    },
    onContent: (bytes) => {
      holds(passed.status !== null && !passed.isWhole, "content is of the answer");
      passed.content += latin1(bytes);
    },
    onAnswerEnd: (trailers) => {
      holds(!passed.isWhole, "an answer ends once");
      passed.isWhole = true;
      passed.trailers = trailers;
    },
    // How it is called depends on how much was there; that it is one does not.
    onFault: () => {
      holds(passed.fault === null, "there is one fault");
      passed.fault = "fault";
    },
  });
  machine.request(method, mayUpgrade);
  for (const part of parts) machine.receive(part);
  passed.isCutShort = machine.receiveEnd();
  return passed;
}

function keep(parts: readonly Uint8Array[]): { readonly status: number; readonly body: string } | string {
  const answer = new HttpAnswer(8192);
  try {
    for (const part of parts) answer.receive(part);
    const { status, body } = answer.done ? answer.response : answer.receiveEnd();
    return { status, body: latin1(body) };
  } catch (error) {
    if (error instanceof MeshError && error.blame === "upstream") return "refused";
    throw error;
  }
}

function run(input: Uint8Array, look: Look): void {
  const kind = input[0] ?? 0;
  const bytes = input.subarray(1);
  const passed = readCut(bytes, look, (parts) =>
    pass(parts, kind % 4 === 1 ? "HEAD" : "GET", kind % 4 === 2),
  );
  const kept = readCut(bytes, look, keep);
  // Where both take it, it is the same.
  if (kind % 4 === 0 && passed.isWhole && passed.fault === null && typeof kept !== "string")
    same({ status: passed.status, body: passed.content }, kept, "passed on and kept");
  if (passed.status === null) return;
  const told = answerFields(passed.fields);
  if (told === null) return;
  holds(encodeAnswer(passed.status, told.fields, []) !== null, "an answer that was read can be written");
}

const answers = [
  "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nX: 1\r\n\r\n",
  "HTTP/1.0 200 OK\r\n\r\nuntil the end",
  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 \r\nLink: a\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nabc",
  "HTTP/1.1 304 Not Modified\r\nConnection: close, x\r\nX: 2\r\nETag: a\r\n\r\n",
];

export const target: Target = {
  maxBytes: 4096,
  seeds: () => answers.flatMap((text) => [0, 1, 2].map((kind) => Uint8Array.of(kind, ...bytesOf(text)))),
  dictionary: [
    "\r\n",
    "\r\n\r\n",
    "HTTP/1.1 ",
    "Content-Length: ",
    "Transfer-Encoding: chunked\r\n",
    "0\r\n\r\n",
    "\n",
    "200",
  ],
  run,
};
