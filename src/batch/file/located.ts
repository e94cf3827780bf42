/** A YAML or JSON text as plain data, and where in the text each part of it stands. */

import { type Document, isMap, isScalar, LineCounter, parseDocument } from "yaml";
import { SecateurError } from "../../errors.ts";

/** Keys and indices from the top. */
export type Path = readonly (string | number)[];

/** A mistake in a file: where, and what was expected there. */
export interface Mistake {
  readonly path: Path;
  /** "expected ..., got ...". */
  readonly sentence: string;
  /** The key at `path` is meant, not what stands behind it. */
  readonly key?: boolean;
}

/** "matrix.seed[1]". */
export const pathText = (path: Path): string =>
  path.map((step, i) => typeof step === "number" ? `[${step}]` : i === 0 ? step : `.${step}`)
    .join("");

export class LocatedFile {
  readonly #name: string;
  readonly #document: Document;
  readonly #lines: LineCounter;
  readonly data: unknown;

  /** Throws "format-corrupt" with line and column for text that does not parse. */
  constructor(name: string, text: string) {
    this.#name = name;
    this.#lines = new LineCounter();
    this.#document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false });
    const [error] = this.#document.errors;
    if (error !== undefined) {
      const { line, col } = this.#lines.linePos(error.pos[0]);
      throw this.#error(line, col, `expected YAML or JSON, but ${inWords(error.message)}`);
    }
    try {
      this.data = this.#document.toJS({ maxAliasCount: 100 });
    } catch {
      throw this.#error(1, 1, "expected anchors that are used up to 100 times, but there are more");
    }
  }

  #error(line: number, column: number, sentence: string): SecateurError {
    return new SecateurError("format-corrupt", `${this.#name}:${line}:${column}: ${sentence}.`);
  }

  /** Where a path stands, or the innermost part of it that does. */
  #position({ path, key = false }: Mistake): { line: number; col: number } {
    for (let length = path.length; length >= 0; length--) {
      const inner = path.slice(0, length);
      const offset = key && length === path.length ? this.#keyOffset(inner) : this.#offset(inner);
      if (offset !== undefined) return this.#lines.linePos(offset);
    }
    return { line: 1, col: 1 };
  }

  #offset(path: Path): number | undefined {
    const node = path.length === 0 ? this.#document.contents : this.#document.getIn(path, true);
    return (node as { range?: readonly number[] } | null | undefined)?.range?.[0];
  }

  #keyOffset(path: Path): number | undefined {
    const above = path.length === 1
      ? this.#document.contents
      : this.#document.getIn(path.slice(0, -1), true);
    if (!isMap(above)) return undefined;
    const pair = above.items.find(({ key }) => isScalar(key) && key.value === path.at(-1));
    return isScalar(pair?.key) ? pair.key.range?.[0] : undefined;
  }

  /** Which of two mistakes comes first in the text. */
  compare(a: Mistake, b: Mistake): number {
    const [first, second] = [this.#position(a), this.#position(b)];
    return first.line - second.line || first.col - second.col;
  }

  /** The mistake as an error that says where it is. */
  refuse(mistake: Mistake): SecateurError {
    const { line, col } = this.#position(mistake);
    const where = mistake.path.length === 0 ? "" : `${pathText(mistake.path)}: `;
    return this.#error(line, col, `${where}${mistake.sentence}`);
  }
}

/** A parser's message as a part of a sentence. */
function inWords(message: string): string {
  const first = message.split("\n")[0].replace(/[.:]$/, "");
  return `${first[0].toLowerCase()}${first.slice(1)}`;
}
