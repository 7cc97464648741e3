/** Words that have to fit: a cell, a line, a number of bytes. */

/** Of a longer text, what fits, with a sign that there was more. Shows nothing in no room. */
export function cut(line: string, width: number): string {
  const characters = [...line];
  if (characters.length <= width) return line;
  return width < 1 ? "" : `${characters.slice(0, width - 1).join("")}…`;
}

const units = ["B", "K", "M", "G", "T", "P"];

/** `0B`, `999B`, `1.2K`, `34M`: four characters at the most below 1000 petabytes. */
export function formatBytes(bytes: number): string {
  let value = Math.max(0, bytes);
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit > 0 && value < 9.95 ? value.toFixed(1) : Math.round(value)}${units[unit]}`;
}

/** A rate or a count in few characters: `0`, `0.4`, `12`, `3.4k`. */
export function formatCount(value: number): string {
  if (value > 0 && value < 9.95) return value < 0.05 ? "<0.1" : value.toFixed(1).replace(/\.0$/, "");
  return formatBytes(value).replace("B", "").replace("K", "k");
}
