/** What work costs, in the processor's time and not the clock's: a machine that is busy with others makes no work longer than it was. */

/** @returns what says how much CPU time this process, all of its threads, has used since: milliseconds. */
export function cpuTimer(): () => number {
  const before = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  };
}
