/**
 * Fuzzing: every input is a function of the reader, a seed and a number, so that a finding is named
 * by these three. An input must be read, or refused in one sentence with a code, soon, and without
 * taking memory out of proportion.
 */

import process from "node:process";
import { SecateurError } from "../../../src/errors.ts";
import { RandomStream } from "../../../src/random.ts";
import { pick } from "./byte_changes.ts";
import type { FuzzedReader } from "./readers.ts";

/** What an input may take; generous, since machines stop for other programs. */
const LONGEST_MS = 1000;
const MOST_MEMORY = 512 * 2 ** 20;
/** Memory is measured where an input took this long: taking much takes time. */
const NOTICEABLE_MS = 10;
/** Inputs between two looks at the memory that the process has anyway. */
const BETWEEN_LOOKS = 500;

/** What went wrong with one input. */
export interface Finding {
  readonly reader: string;
  readonly seed: number;
  readonly index: number;
  readonly what: string;
}

export interface FuzzResult {
  readonly inputs: number;
  /** Inputs by outcome: "accepted" or the code of the error. */
  readonly outcomes: ReadonlyMap<string, number>;
  readonly findings: readonly Finding[];
  /** The longest that one input took. */
  readonly slowest: { readonly index: number; readonly milliseconds: number };
}

/** Input number `index` of a seed. */
export function fuzzedInput(reader: FuzzedReader, seed: number, index: number): Uint8Array {
  const random = new RandomStream(seed, `fuzz ${reader.name}`, index);
  const [bytes, other] = [pick(reader.seeds, random), pick(reader.seeds, random)];
  return reader.change(bytes, random, other);
}

/** One line that ends like a sentence, without control characters. */
// deno-lint-ignore no-control-regex
const SENTENCE = /^[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]+\.$/;

function outcomeOf(reader: FuzzedReader, bytes: Uint8Array): { outcome: string; wrong?: string } {
  try {
    reader.read(bytes);
    return { outcome: "accepted" };
  } catch (thrown) {
    if (!(thrown instanceof SecateurError)) {
      const stack = thrown instanceof Error ? thrown.stack ?? thrown.message : String(thrown);
      return { outcome: "crashed", wrong: stack.split("\n").slice(0, 4).join(" ") };
    }
    const { code, message } = thrown;
    if (SENTENCE.test(message)) return { outcome: code };
    return { outcome: code, wrong: `is no sentence: ${JSON.stringify(message.slice(0, 300))}` };
  }
}

/** Reads one input, measured; `before` is the memory the process had. */
function measured(reader: FuzzedReader, bytes: Uint8Array, before: number) {
  const started = performance.now();
  const { outcome, wrong } = outcomeOf(reader, bytes);
  const milliseconds = performance.now() - started;
  if (wrong !== undefined || milliseconds < NOTICEABLE_MS) return { outcome, wrong, milliseconds };
  const grown = process.memoryUsage.rss() - before;
  const excess = grown > MOST_MEMORY ? `took ${Math.round(grown / 2 ** 20)} MiB` : undefined;
  return { outcome, wrong: excess, milliseconds };
}

/** Reads inputs `first` to `first + count - 1` of a seed; `onInput` hears of each before it is. */
export function fuzz(
  reader: FuzzedReader,
  { seed, first = 0, count, onInput }: {
    readonly seed: number;
    readonly first?: number;
    readonly count: number;
    readonly onInput?: (index: number) => void;
  },
): FuzzResult {
  const outcomes = new Map<string, number>();
  const findings: Finding[] = [];
  let slowest = { index: first, milliseconds: 0 };
  let memory = process.memoryUsage.rss();
  for (let index = first; index < first + count; index++) {
    if (index % BETWEEN_LOOKS === 0) memory = process.memoryUsage.rss();
    onInput?.(index);
    const bytes = fuzzedInput(reader, seed, index);
    let { outcome, wrong, milliseconds } = measured(reader, bytes, memory);
    // Once more, in case the machine was busy with something else.
    if (milliseconds > LONGEST_MS) milliseconds = measured(reader, bytes, memory).milliseconds;
    if (milliseconds > LONGEST_MS) wrong ??= `took ${Math.round(milliseconds)} ms`;
    if (milliseconds > slowest.milliseconds) slowest = { index, milliseconds };
    if (wrong !== undefined) findings.push({ reader: reader.name, seed, index, what: wrong });
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  }
  return { inputs: count, outcomes, findings, slowest };
}
