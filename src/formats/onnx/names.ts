/** Names of layers, values and weights: kept where they can be, else made to differ. */

/** A name that model files store: printable, not empty, at most 240 characters of their 256. */
export function storable(name: string): string {
  const cleaned = name.slice(0, 240).replace(/[^\x20-\x7e]/g, "_").replace(/^ /, "_");
  return cleaned === "" ? "_" : cleaned;
}

/** Names that nobody has yet. */
export class FreshNames {
  readonly #taken: Set<string>;
  /** Where to go on counting for a name that many want. */
  readonly #next = new Map<string, number>();

  constructor(taken: Iterable<string> = []) {
    this.#taken = new Set(taken);
  }

  /** The name itself where it is free, else one like it; taken from now on. */
  take(wanted: string): string {
    let name = wanted;
    let k = this.#next.get(wanted) ?? 2;
    for (; this.#taken.has(name); k++) name = `${wanted}.${k}`;
    this.#next.set(wanted, k);
    this.#taken.add(name);
    return name;
  }
}
