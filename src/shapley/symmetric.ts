/**
 * A control variate that every game has: the symmetric game, in which a coalition is worth what
 * coalitions of its size are worth on average. Its Shapley values are known, equal shares, so that
 * what a player contributes because it came early or late need not be sampled. Strata of size after
 * Castro et al. ("Improving polynomial estimation of the Shapley value by stratified random sampling
 * with optimum allocation", Computers & OR 2017); fitted to other pairs than the ones it corrects.
 */

/** Pairs in turn belong to these; each is corrected with a curve from all others. */
const FOLDS = 8;

/** With fewer, a curve comes from a single pair, whose deviations from itself are nothing. */
const LEAST_PAIRS = 3;

/** How deep a step lies in a walk from its nearer end: a pair walks both ways. */
const depthOf = (step: number, players: number): number => Math.min(step, players - 1 - step);

/**
 * What steps of each depth contribute more than the average step, from the pairs given: [depth].
 * Players' own means are taken out first, so that who happened to stand there matters little.
 */
function depthCurve(walks: readonly Int32Array[], pairs: readonly Float64Array[]): Float64Array {
  const players = walks[0].length;
  const means = new Float64Array(players);
  for (const pair of pairs) pair.forEach((value, player) => means[player] += value / pairs.length);
  const curve = new Float64Array(Math.ceil(players / 2));
  walks.forEach((walk, index) =>
    walk.forEach((player, step) => {
      curve[depthOf(step, players)] += pairs[index][player] - means[player];
    })
  );
  // Deviations from a mean of k pairs are short by 1 / k; they sum to nothing over all depths.
  const shares = pairs.length - 1;
  return curve.map((sum, depth) => sum / (2 * depth + 1 === players ? shares : 2 * shares));
}

/**
 * Pair means with the symmetric game's share known instead of sampled: [pair][player]. `walks` are
 * the first walks of the pairs. Sums over players stay as they are.
 */
export function correctedBySize(
  walks: readonly Int32Array[],
  pairs: readonly Float64Array[],
): readonly Float64Array[] {
  if (pairs.length < LEAST_PAIRS) return pairs;
  const players = walks[0].length;
  const folds = Math.min(FOLDS, pairs.length);
  const curves = Array.from({ length: folds }, (_, fold) => {
    const others = pairs.map((_, pair) => pair).filter((pair) => pair % folds !== fold);
    return depthCurve(others.map((pair) => walks[pair]), others.map((pair) => pairs[pair]));
  });
  const means = new Float64Array(players);
  for (const pair of pairs) pair.forEach((value, player) => means[player] += value / pairs.length);
  let products = 0, squares = 0;
  const corrections = walks.map((walk, pair) => {
    const correction = new Float64Array(players);
    walk.forEach((player, step) => {
      const own = curves[pair % folds][depthOf(step, players)];
      correction[player] = own;
      products += own * (pairs[pair][player] - means[player]);
      squares += own * own;
    });
    return correction;
  });
  // As much of it as explains anything: a curve of noise is left out.
  const share = squares > 0 ? Math.min(1, Math.max(0, products / squares)) : 0;
  return pairs.map((pair, index) =>
    pair.map((value, player) => value - share * corrections[index][player])
  );
}
