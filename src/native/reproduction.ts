/** How well layers reproduce their outputs from some of their inputs, computed natively. */

import { stopIfAsked } from "../progress.ts";
import type { NativeConsumer, NativeReproduction } from "./addon.ts";
import { loadAddon } from "./binding.ts";
import { coded, codedError } from "./native_errors.ts";

export type { NativeConsumer } from "./addon.ts";

/** Players taken away and what each cost on top of those before. */
export interface Elimination {
  readonly players: Int32Array;
  readonly costs: Float64Array;
}

/**
 * Channels (players) that layers (consumers) read. For weights W, covariance G and P = (G + ridge)^-1,
 * taking the unknowns R away costs E(R) = trace(W_R (P_RR)^-1 W_R^T): the part of the outputs' variance
 * that the best weights on the other unknowns cannot give back. Costs add up over consumers.
 *
 * Methods reject with "program-invalid" for players that are not in, "numeric-failure" for covariances
 * that are not positive definite, "cancelled" once `signal` asks.
 */
export class Reproduction {
  readonly players: number;
  readonly #native: NativeReproduction;
  readonly #signal: AbortSignal | undefined;

  /** `ridge` is relative to each covariance's mean diagonal. */
  constructor(
    consumers: readonly NativeConsumer[],
    players: number,
    ridge: number,
    signal?: AbortSignal,
  ) {
    this.players = players;
    this.#signal = signal;
    const { Reproduction: Native } = loadAddon();
    this.#native = coded(() => new Native(consumers, players, ridge));
  }

  /** Marginal costs along walks over players that are in: [walks, depth]; nobody goes for good. */
  async walk(walks: Int32Array, depth: number, threads = 1): Promise<Float64Array<ArrayBuffer>> {
    return await this.#watched(() => this.#native.walk(walks, depth, threads));
  }

  /** Takes players away, in order; what each cost. */
  async remove(players: Int32Array): Promise<Float64Array<ArrayBuffer>> {
    return await this.#watched(() => this.#native.remove(players));
  }

  /** Takes `count` players away, always the one that costs least. */
  async eliminate(count: number): Promise<Elimination> {
    return await this.#watched(() => this.#native.eliminate(count));
  }

  /** A consumer's weights [outputs, unknowns], compensated for who has gone; zero where it read them. */
  async weights(consumer: number): Promise<Float64Array<ArrayBuffer>> {
    return await this.#watched(() => this.#native.weights(consumer));
  }

  async #watched<T>(start: () => Promise<T>): Promise<T> {
    stopIfAsked(this.#signal);
    const cancel = () => this.#native.cancel();
    this.#signal?.addEventListener("abort", cancel);
    try {
      return await start();
    } catch (thrown) {
      throw codedError(thrown);
    } finally {
      this.#signal?.removeEventListener("abort", cancel);
    }
  }
}
