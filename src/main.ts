/** argv → cli. */
import "./app/command/keep_freed_pages.ts";

// Not before: the program may begin once more in that line, and what was loaded until then was loaded for nothing.
const { runProgram } = await import("./app/command/run_program.ts");
await runProgram();
