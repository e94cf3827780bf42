/** Progress in figures people read: share, rate and time left. */

import type { Progress } from "../../progress.ts";
import { formatDuration, toKebabCase } from "../../std.ts";

/** Units per second and seconds left; absent until they can be told. */
export interface Pace {
  readonly rate?: number;
  readonly secondsLeft?: number;
}

/** Before this many milliseconds of a stage, rates and times left mislead. */
const SETTLING = 1000;
const BAR = 24;

/** Seconds up to which a duration is rounded to so many seconds. */
const ROUNDING = [[10, 1], [60, 5], [180, 30], [3600, 60], [36_000, 600], [Infinity, 3600]];

/** How long something may take, as people round it: "4s", "20s", "1m 30s", "4m", "1h 10m". */
export function duration(seconds: number): string {
  const [, step] = ROUNDING.find(([limit]) => seconds < limit) ?? [0, 3600];
  const whole = Math.max(1, Math.round(seconds / step) * step);
  return formatDuration(1000 * whole, { ignoreZero: true });
}

/** A forecast of seconds: "about 4m", "at most about 4m" where it is an upper bound. */
export function forecast(seconds: number, atMost = false): string {
  return `${atMost ? "at most " : ""}about ${duration(seconds)}`;
}

/** Three significant figures at most, without exponents for sizes people meet. */
export function figure(value: number): string {
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en-US");
  if (Number.isInteger(value)) return String(value);
  return value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(1) : value.toPrecision(3);
}

/** Where a stage stood, and when. */
interface Mark {
  readonly done: number;
  readonly work: number;
  readonly at: number;
}

/** Follows stages, one after the other, and says when there is something new to show. */
export class Meter {
  readonly #interval: number;
  readonly #now: () => number;
  #stage = "";
  #first: Mark = { done: 0, work: 0, at: 0 };
  /** Where the stage stood at reports of its later half, oldest first. */
  #marks: Mark[] = [];
  #shown = 0;
  #ended = false;

  /** `interval`: least milliseconds between two reports; `now`: a clock in milliseconds. */
  constructor(interval: number, now: () => number) {
    this.#interval = interval;
    this.#now = now;
  }

  /** The pace when a report is due, else undefined. The end of a stage is always due. */
  pace({ stage, done, total, work = { done, total } }: Progress): Pace | undefined {
    const now = this.#now();
    if (stage !== this.#stage) {
      this.#stage = stage;
      this.#first = { done, work: work.done, at: now };
      this.#marks = [this.#first];
      this.#shown = now;
      this.#ended = false;
      if (done < total) return undefined;
    }
    // A stage may say more than once that it is done.
    if (this.#ended && done >= total) return undefined;
    this.#ended = done >= total;
    if (done < total && now - this.#shown < this.#interval) return undefined;
    this.#shown = now;
    const mark = { done, work: work.done, at: now };
    const from = done < total ? this.#since(mark) : this.#first;
    const elapsed = now - from.at, made = done - from.done, worked = work.done - from.work;
    if (now - this.#first.at < SETTLING || made <= 0 || worked <= 0) return {};
    return {
      rate: made / elapsed * 1000,
      secondsLeft: (work.total - work.done) / worked * elapsed / 1000,
    };
  }

  /**
   * The report that pace is reckoned from, and notes a new one: halfway back to the stage's start, so
   * that how it began is forgotten: caches that were cold, pictures decoded for the first time, other
   * work on the machine.
   */
  #since(mark: Mark): Mark {
    const halfway = (this.#first.at + mark.at) / 2;
    while (this.#marks.length > 1 && this.#marks[1].at <= halfway) this.#marks.shift();
    this.#marks.push(mark);
    return this.#marks[0];
  }

  /**
   * One line about the stage when one is due: with a bar and cut to `columns` for a terminal,
   * plain for a log. Stages that end within the first second stay unmentioned.
   */
  line(progress: Progress, columns?: number): string | undefined {
    const pace = this.pace(progress);
    if (pace === undefined || pace.rate === undefined) return undefined;
    const { stage, done, total, unit, work = progress, atMost, figures = {} } = progress;
    const share = work.total > 0 ? Math.min(1, work.done / work.total) : 1;
    const left = done < total ? `${forecast(pace.secondsLeft!, atMost)} left` : "done";
    const parts = [
      `${Math.floor(100 * share)}%`,
      `${figure(pace.rate)} ${unit}/s`,
      left,
      ...Object.entries(figures).map(([name, value]) => `${words(name)} ${figure(value)}`),
    ];
    if (columns === undefined) return `${stage}: ${parts.join(", ")}`;
    const filled = Math.round(share * BAR);
    const bar = "█".repeat(filled) + "░".repeat(BAR - filled);
    return `${stage} ${bar} ${parts.join("  ")}`.slice(0, Math.max(20, columns - 1));
  }
}

/** "learningRate" -> "learning rate". */
const words = (name: string): string => toKebabCase(name).replaceAll("-", " ");
