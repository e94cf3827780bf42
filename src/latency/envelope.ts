/** Which widths are worth taking, given what they cost. */

/** Differences that measurements of the same thing show. */
const NOISE = 0.01;

/**
 * Places of widths that cost less than every larger one by more than noise. What lies between saves
 * nothing: vector instructions compute as many channels anyway, and the model can keep them. The
 * largest width is always there. `costs` are those of ascending widths.
 */
export function widthsWorthTaking(costs: readonly number[]): number[] {
  const worth: number[] = [];
  let least = Infinity;
  for (let place = costs.length - 1; place >= 0; place--) {
    if (costs[place] >= least * (1 - NOISE) && worth.length > 0) continue;
    worth.push(place);
    least = costs[place];
  }
  return worth.reverse();
}
