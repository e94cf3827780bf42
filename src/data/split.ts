/** Deterministic ways to divide a data set: by file order, or at random within each class. */
import { SecateurError } from "../errors.ts";
import { quoted } from "../formats/bytes.ts";
import { RandomStream } from "../random.ts";
import { type PictureSet, subset } from "./dataset.ts";

/** For each class the positions of its pictures, in the data set's order. */
function positionsByClass(dataset: PictureSet): number[][] {
  const positions: number[][] = dataset.classes.map(() => []);
  dataset.labels.forEach((label, position) => positions[label].push(position));
  return positions;
}

/**
 * Splits off the last `perClass` pictures of every class, in the data set's own order (image
 * folders are ordered by path, so these are the last by file name). Both parts keep that order.
 * @throws SecateurError `option-invalid` when a class would keep no picture.
 */
export function holdOutLastPerClass<Kind extends PictureSet>(
  dataset: Kind,
  perClass: number,
): { readonly training: Kind; readonly heldOut: Kind } {
  const held = new Uint8Array(dataset.count);
  positionsByClass(dataset).forEach((positions, label) => {
    if (positions.length > 0 && perClass >= positions.length) {
      const fewer = positions.length > 1
        ? `give --hold-out ${positions.length - 1} or less, or the class more pictures`
        : "give the class more pictures";
      throw new SecateurError(
        "option-invalid",
        `Expected more than ${perClass} pictures of each class of ${dataset.name} to hold out ` +
          `${perClass}, but ${quoted(dataset.classes[label])} has ${positions.length}: ${fewer}.`,
      );
    }
    for (const position of perClass > 0 ? positions.slice(-perClass) : []) held[position] = 1;
  });
  const all = Int32Array.from({ length: dataset.count }, (_, i) => i);
  return {
    training: subset(dataset, all.filter((i) => held[i] === 0), `${dataset.name} (kept)`),
    heldOut: subset(dataset, all.filter((i) => held[i] === 1), `${dataset.name} (held out)`),
  };
}

/**
 * Positions of a random sample that takes from every class in proportion (largest remainders;
 * equal remainders are ranked at random), in ascending order. `purpose` names the random stream,
 * so that two samples of one seed are independent.
 *
 * A smaller sample of the same seed and purpose is not a prefix of a larger one.
 * @throws SecateurError `option-invalid` when `count` exceeds the data set.
 */
export function stratifiedSample(
  dataset: PictureSet,
  count: number,
  seed: number,
  purpose: string,
): Int32Array {
  if (!Number.isInteger(count) || count < 1 || count > dataset.count) {
    throw new SecateurError(
      "option-invalid",
      `Expected to draw between 1 and ${dataset.count} pictures from ${dataset.name}, ` +
        `got ${count}.`,
    );
  }
  const byClass = positionsByClass(dataset);
  const tieBreak = new RandomStream(seed, purpose).permutation(byClass.length);
  const exact = byClass.map((positions) => positions.length * count / dataset.count);
  const shares = exact.map(Math.floor);
  const missing = count - shares.reduce((sum, share) => sum + share, 0);
  const byRemainder = exact.map((_, label) => label).sort((a, b) =>
    (exact[b] - shares[b]) - (exact[a] - shares[a]) || tieBreak[a] - tieBreak[b]
  );
  for (const label of byRemainder.slice(0, missing)) shares[label]++;

  const chosen: number[] = [];
  byClass.forEach((positions, label) => {
    const order = new RandomStream(seed, purpose, 1, label).permutation(positions.length);
    for (let i = 0; i < shares[label]; i++) chosen.push(positions[order[i]]);
  });
  return Int32Array.from(chosen).sort();
}
