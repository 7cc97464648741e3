/** When the kernel will probe connections (proc(5), /proc/net/tcp: "tr" 02 is the timer of keep-alive). */
import { readFileSync } from "node:fs";

/** @param port on 127.0.0.1. @returns seconds, of each connection at the end that has this port, and of each at the other end. */
export function keepAliveTimers(port: number): readonly [readonly number[], readonly number[]] {
  const end = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const lines = readFileSync("/proc/net/tcp", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/));
  const secondsAt = (column: number): readonly number[] =>
    lines
      .filter((words) => words[column] === end)
      .flatMap((words) => {
        const [timer, when = ""] = (words[5] ?? "").split(":");
        return timer === "02" ? [Number.parseInt(when, 16) / 100] : [];
      });
  return [secondsAt(1), secondsAt(2)];
}
