/** Charts as SVG text, drawn by Observable Plot on a document that needs no browser. */

import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import { printable } from "../printable.ts";
import { Html } from "./html.ts";

export { Plot };

/** Of a DOM's types, the two that charts need; Deno's own library declares none. */
interface PageDocument {
  readonly body: unknown;
}
interface Drawn {
  readonly outerHTML: string;
}

/** Names for colours; the page's style gives them values in light and dark. */
export const INK = {
  kept: "var(--kept)",
  cut: "var(--cut)",
  control: "var(--control)",
  second: "var(--second)",
  faint: "var(--faint)",
  rule: "var(--rule)",
  text: "var(--ink)",
} as const;

/** One chart; `label` is what a reader hears who does not see it. */
export function chart(label: string, options: Plot.PlotOptions): Html {
  const page = parseHTML("<html><body></body></html>") as unknown as { document: PageDocument };
  const drawn = Plot.plot({
    ariaLabel: label,
    style: { fontSize: "11.5px" },
    ...options,
    document: page.document as Plot.PlotOptions["document"],
  }) as unknown as Drawn;
  return new Html(drawn.outerHTML.split("\n").map(printable).join("\n"));
}
