/** HTML from templates in which everything put in is escaped unless it is HTML already. */

import { printable } from "../printable.ts";
import { escapeHtml } from "../std.ts";

/** Text that is HTML. */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

type Part = Html | string | number | readonly Part[];

function escaped(part: Part): string {
  if (part instanceof Html) return part.text;
  if (typeof part === "object") return part.map(escaped).join("");
  return escapeHtml(printable(String(part)));
}

/** markup`<b>${text}</b>`: lists are joined, text is escaped. */
export function markup(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  return new Html(strings.reduce((text, next, i) => text + escaped(parts[i - 1]) + next));
}
