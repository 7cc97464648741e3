/** A process of its own under this runtime: `process_probe.ts output|signals`. */
import { createNodeHost } from "../../src/host/node/host.ts";

const { process: own } = createNodeHost();

if (process.argv[2] === "output") {
  // To a pipe that has no reader; how it went is said by the other one.
  const line = `${"x".repeat(1023)}\n`;
  let written = 0;
  while (written < 10_000 && own.writeOut(line)) written++;
  own.writeError(JSON.stringify({ written }));
  process.exit(0);
}
own.onSignal((signal) => {
  own.writeOut(`${signal}\n`);
  if (signal === "SIGTERM") own.exit(7);
});
own.writeOut("listening\n");
setTimeout(() => process.exit(1), 120_000);
