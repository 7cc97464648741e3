/** `fairlead policy test`: the PolicyTests of files, held against the mesh that the same files come to. */
import { runSteps } from "../../base/turns/time_slice.ts";
import { formatLocation } from "../../mesh/location.ts";
import { runPolicyTests } from "../../policy/explain/policy_tests.ts";
import type { CliBindings, ExitCode } from "../bindings.ts";
import { reportConfigErrors } from "../report.ts";
import { loadFromOptions } from "../setting_options.ts";
import type { Style } from "../style.ts";
import { meshOfFiles } from "./mesh_of_files.ts";

/** 0: all pass. 1: some do not, or there are none. */
export async function testPolicies(
  bindings: CliBindings,
  style: Style,
  options: Readonly<Record<string, unknown>>,
): Promise<ExitCode> {
  const { terminal } = bindings;
  const { config, errors } = await loadFromOptions(bindings, options);
  if (config === null) return reportConfigErrors(terminal, errors);
  const { mesh, errors: wrong } = await meshOfFiles(bindings, config);
  const calls = runSteps(runPolicyTests(mesh));
  const failed = calls.filter(({ passed }) => !passed).length;
  if (options.json === true) {
    terminal.out(
      `${JSON.stringify({ passed: calls.length - failed, failed, errors: wrong, calls }, null, 2)}\n`,
    );
  } else {
    for (const { location, message } of wrong)
      terminal.error(`${formatLocation(location)}: ${style.red("error")}: ${message}\n`);
    for (const { passed, location, document, from, to, expected, message } of calls)
      terminal.out(
        passed
          ? `${style.green("pass")} ${from} → ${to} is ${expected} (${document})\n`
          : `${style.red("FAIL")} ${formatLocation(location)}: ${document}: ${message}\n`,
      );
    if (calls.length === 0) terminal.error("there is no PolicyTest in these files\n");
    terminal.out(`${calls.length - failed} passed, ${failed} failed\n`);
  }
  return failed > 0 || wrong.length > 0 || calls.length === 0 ? 1 : 0;
}
