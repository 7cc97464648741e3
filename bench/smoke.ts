/** Each benchmark once, with windows too short to measure anything: that none of them rots. Some twenty seconds each on a quiet machine. */
import { join } from "node:path";
import { cleanUpOnExit } from "../conformance/peer/lab/cleanup.ts";
import { builtHere } from "./subject_binary.ts";

/** Only what hangs reaches it, however busy the machine is. */
const limitMs = 300_000;
const smokes: readonly { readonly name: string; readonly argv: readonly string[]; readonly says: RegExp }[] =
  [
    {
      name: "tunnel",
      argv: ["--quick", "--only", "fairlead"],
      says: /\| CPU us\/request at 32 outbound +\|/,
    },
    {
      name: "cores",
      argv: ["--quick", "--only", "fairlead 1,fairlead 2"],
      says: /\| busiest worker's part, CPU us\/connection outbound +\|/,
    },
    {
      name: "growth",
      argv: ["--quick", "--only", "fairlead"],
      says: /\| 50 connections, 10 services, 1 peer, a change a second \| fairlead \| [0-9.]+ \/ /,
    },
    {
      name: "growth",
      argv: ["--quick", "--only", "fairlead", "--idle", "0.01"],
      says: /\| connections that answer afterwards \| 500 \|/,
    },
    { name: "waypoint", argv: ["--quick"], says: /\| HTTP\/2 CPU us\/request at 32 +\|/ },
    {
      name: "control",
      argv: ["--workloads", "200", "--services", "20", "--nodes", "5", "--certificates", "10"],
      says: /1 workload to 5 nodes +\| +[0-9.]+/,
    },
    { name: "micro", argv: ["waypoint", "--quick"], says: /HTTP\/2, no documents +[0-9.]+ us/ },
  ];

cleanUpOnExit();
const program = builtHere(process.env.FAIRLEAD);
let failed = 0;
for (const { name, argv, says } of smokes) {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "run.ts"), name, ...argv], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, FAIRLEAD: program },
  });
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    child.kill();
  }, limitMs);
  const [output, complaint, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  clearTimeout(timer);
  const isGood = code === 0 && says.test(output);
  console.log(`${isGood ? "ok  " : "FAIL"} bench -- ${[name, ...argv].join(" ")}`);
  if (isGood) continue;
  failed++;
  console.log(isLate ? `not over in ${limitMs / 1000} s` : `exit ${code}`);
  console.log(`${output}\n${complaint}`);
}
console.log(`${smokes.length - failed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
