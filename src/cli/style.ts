/** Colours, for a terminal only, and columns, which line up for everybody. */

export interface Style {
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
  yellow(text: string): string;
  green(text: string): string;
}

const plainText = (text: string): string => text;
export const plain: Style = {
  bold: plainText,
  dim: plainText,
  red: plainText,
  yellow: plainText,
  green: plainText,
};

function code(open: number, close: number): (text: string) => string {
  return (text) => `\u001b[${open}m${text}\u001b[${close}m`;
}

export const colored: Style = {
  bold: code(1, 22),
  dim: code(2, 22),
  red: code(31, 39),
  yellow: code(33, 39),
  green: code(32, 39),
};

/** Rows of cells under a head, each column as wide as its widest cell, two spaces between; the last column is not padded. */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  style: Style,
): string {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => (column === cells.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join("  ");
  return [style.bold(line(head)), ...rows.map(line)].map((text) => `${text}\n`).join("");
}
