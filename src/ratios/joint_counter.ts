import type { WidthCounter } from "./counter.ts";

/**
 * Two costs that must both come down, as one: the larger of the first and its limit, and what the second
 * has beyond its own, at the rate of the two in the whole model. So a step is worth what it takes off
 * limits that are not met yet, and `allowed` is reached when both are.
 */
export class JointCounter implements WidthCounter {
  readonly neighbours: readonly (readonly number[])[];
  /** The first cost's limit, and so the total's. */
  readonly allowed: number;
  readonly #first: WidthCounter;
  readonly #second: WidthCounter;
  readonly #whole: readonly [number, number];
  readonly #limit: number;

  /** Counters that stand at the whole model, and the shares of each that must go. */
  constructor(first: WidthCounter, firstCut: number, second: WidthCounter, secondCut: number) {
    this.#first = first;
    this.#second = second;
    this.#whole = [first.total, second.total];
    this.allowed = first.total * (1 - firstCut);
    this.#limit = second.total * (1 - secondCut);
    this.neighbours = first.neighbours.map((own, group) => [
      ...new Set([...own, ...second.neighbours[group]]),
    ]);
  }

  get total(): number {
    const [first, second] = this.#whole;
    const excess = Math.max(0, this.#second.total - this.#limit);
    return Math.max(this.#first.total, this.allowed) + excess * first / second;
  }

  /** Shares of both that are gone at the widths set. */
  get removed(): [number, number] {
    const [first, second] = this.#whole;
    return [1 - this.#first.total / first, 1 - this.#second.total / second];
  }

  set(group: number, kept: number): void {
    this.#first.set(group, kept);
    this.#second.set(group, kept);
  }
}
