/** `nft` and `ip` of a simulated machine, as far as capture needs them: rules are kept and given back, and redirect nothing. */
import type { RunProgram } from "../memory/process.ts";

/** One set for each process: what it loads is gone with it. */
export function rulePrograms(): Readonly<Record<string, RunProgram>> {
  let table = "";
  return {
    nft(args, input) {
      if (args.includes("list"))
        return table === ""
          ? { exitCode: 1, output: "Error: No such file or directory" }
          : { exitCode: 0, output: table };
      if (args.includes("-f")) table = /^table inet fairlead \{[\s\S]*/m.exec(input)?.[0] ?? "";
      return { exitCode: 0, output: "nftables in memory" };
    },
    ip: () => ({ exitCode: 0, output: "from all fwmark 0x111 lookup 100; local default dev lo" }),
  };
}
