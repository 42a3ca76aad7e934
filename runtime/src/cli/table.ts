/** Columns as Go's tabwriter sets them with a cell of at least 12 and three blanks between: what runc's users parse. */
const CELL_WIDTH = 12;
const GAP = 3;

export function table(rows: readonly (readonly string[])[]): string {
  const columns = Math.max(...rows.map((row) => row.length));
  const widths = Array.from({ length: columns - 1 }, (_, column) =>
    Math.max(CELL_WIDTH, ...rows.map((row) => (row[column] ?? '').length + GAP)),
  );
  return rows.map((row) => `${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('')}\n`).join('');
}
