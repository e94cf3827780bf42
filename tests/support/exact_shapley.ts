/** The coalition of the players whose bits are set. */
export const coalitionOf = (bits: number, players: number): Uint8Array =>
  Uint8Array.from({ length: players }, (_, player) => bits >> player & 1);

const factorial = (n: number): number => n <= 1 ? 1 : n * factorial(n - 1);

/** Shapley values by definition: weighted contributions to all coalitions, values by their bits. */
export function exactShapley(players: number, values: readonly number[]): number[] {
  return Array.from({ length: players }, (_, player) => {
    let sum = 0;
    values.forEach((value, bits) => {
      if (bits >> player & 1) return;
      const size = coalitionOf(bits, players).reduce((a, b) => a + b, 0);
      const weight = factorial(size) * factorial(players - size - 1) / factorial(players);
      sum += weight * (values[bits | 1 << player] - value);
    });
    return sum;
  });
}
