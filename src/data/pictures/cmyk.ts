/** From printing inks to red, green and blue. */

/**
 * RGB bytes `[n, 3]` of CMYK bytes `[n, 4]` in which 0 is no ink, as Pillow's `convert("RGB")` makes
 * them: what black leaves of the light, less the ink's share of it, rounded to the nearest.
 */
export function rgbOfCmyk(inks: Uint8Array): Uint8Array {
  const rgb = new Uint8Array(inks.length / 4 * 3);
  for (let from = 0, to = 0; from < inks.length; from += 4, to += 3) {
    const light = 255 - inks[from + 3];
    for (let colour = 0; colour < 3; colour++) {
      const product = inks[from + colour] * light + 128;
      rgb[to + colour] = Math.max(0, light - ((product + (product >> 8)) >> 8));
    }
  }
  return rgb;
}
