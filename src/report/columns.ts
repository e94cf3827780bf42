/** Tables as plain data, and as text in aligned columns. */

import { printable } from "../printable.ts";

/** A column's heading and side; figures stand right. */
export interface Column {
  readonly title: string;
  readonly align?: "left" | "right";
}

/** Headings and rows of text. */
export interface Table {
  readonly heads: readonly Column[];
  readonly rows: readonly (readonly string[])[];
  /** What headings mean, in a sentence or two below the rows. */
  readonly note?: string;
}

/** Lines of a table: headings, a rule, rows, and the note. */
export function columns({ heads, rows: given, note }: Table): string[] {
  // Cells may be names from files: a line break in one would break the table.
  const rows = given.map((row) => row.map(printable));
  const widths = heads.map(({ title }, index) =>
    rows.reduce((most, row) => Math.max(most, row[index].length), title.length)
  );
  const line = (cells: readonly string[]) =>
    cells.map((cell, index) =>
      heads[index].align === "left" ? cell.padEnd(widths[index]) : cell.padStart(widths[index])
    ).join("  ").trimEnd();
  return [
    line(heads.map(({ title }) => title)),
    widths.map((width) => "─".repeat(width)).join("  "),
    ...rows.map(line),
    ...(note === undefined ? [] : [note]),
  ];
}

/** A column of words. */
export const words = (title: string): Column => ({ title, align: "left" });

/** A column of figures. */
export const figures = (title: string): Column => ({ title });

/** A count with thousands set apart: 125,485,696. */
export function count(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

/** A share as a percentage: 45.50%. */
export function percent(share: number, digits = 2): string {
  return `${(100 * share).toFixed(digits)}%`;
}

/** "-45.49%": what became of a figure. */
export function change(before: number, after: number): string {
  const share = before === 0 ? 0 : after / before - 1;
  return `${share > 0 ? "+" : ""}${percent(share)}`;
}
