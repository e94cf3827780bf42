/** How many pixels are decoded at once, whatever the number of pictures. */
import type { Extent } from "./geometry.ts";

interface Waiting {
  readonly pixels: number;
  start(): void;
}

/** Lets pictures be worked on at once, in the order they come, as long as they are small together. */
export class PixelBudget {
  readonly #all: number;
  #free: number;
  readonly #waiting: Waiting[] = [];

  constructor(pixels: number) {
    this.#all = pixels;
    this.#free = pixels;
  }

  /** Does the work when there is room; a picture larger than the whole budget is worked on alone. */
  async spend<T>({ width, height }: Extent, work: () => Promise<T>): Promise<T> {
    const pixels = Math.min(width * height, this.#all);
    if (this.#waiting.length > 0 || pixels > this.#free) {
      await new Promise<void>((start) => this.#waiting.push({ pixels, start }));
    } else this.#free -= pixels;
    try {
      return await work();
    } finally {
      this.#free += pixels;
      while (this.#waiting.length > 0 && this.#waiting[0].pixels <= this.#free) {
        const next = this.#waiting.shift()!;
        this.#free -= next.pixels;
        next.start();
      }
    }
  }
}
