/** Pooling, gathers and their gradients, in plain f64 loops. */

import type { Ints, Operand } from "./convolution_instructions.ts";

interface Cell {
  /** Into the pooled picture. */
  readonly output: number;
  /** Into the picture. */
  readonly input: number;
  /** Within the window, row-major. */
  readonly cell: number;
}

/** Every cell of every window that lies inside the picture, channel by channel. */
function* cells(p: Ints, images: number): Generator<Cell> {
  for (let image = 0; image < images; image++) {
    for (let oy = 0; oy < p.out_height; oy++) {
      for (let ox = 0; ox < p.out_width; ox++) {
        for (let ky = 0; ky < p.kernel_height; ky++) {
          for (let kx = 0; kx < p.kernel_width; kx++) {
            const iy = oy * p.stride_height - p.pad_top + ky;
            const ix = ox * p.stride_width - p.pad_left + kx;
            if (iy < 0 || iy >= p.in_height || ix < 0 || ix >= p.in_width) continue;
            for (let c = 0; c < p.channels; c++) {
              yield {
                output: ((image * p.out_height + oy) * p.out_width + ox) * p.channels + c,
                input: ((image * p.in_height + iy) * p.in_width + ix) * p.channels + c,
                cell: ky * p.kernel_width + kx,
              };
            }
          }
        }
      }
    }
  }
}

export function maxPool(p: Ints, x: Operand, y: Operand, winners: Operand | undefined): void {
  y.data.fill(-Infinity);
  for (const { output, input, cell } of cells(p, x.images)) {
    // The first of equal cells wins.
    if (!(x.data[input] > y.data[output])) continue;
    y.data[output] = x.data[input];
    if (winners) winners.data[output] = cell;
  }
}

export function maxPoolBackward(p: Ints, dy: Operand, winners: Operand, dx: Operand): void {
  dx.data.fill(0);
  for (const { output, input, cell } of cells(p, dy.images)) {
    if (winners.data[output] === cell) dx.data[input] += dy.data[output];
  }
}

/** What each output's sum is divided by. */
function divisors(p: Ints, images: number, outputs: number): Float64Array {
  const counts = new Float64Array(outputs);
  if (p.count_padding === 1) return counts.fill(p.kernel_height * p.kernel_width);
  for (const { output } of cells(p, images)) counts[output]++;
  return counts;
}

export function averagePool(p: Ints, x: Operand, y: Operand): void {
  const counts = divisors(p, x.images, y.data.length);
  y.data.fill(0);
  for (const { output, input } of cells(p, x.images)) {
    y.data[output] += x.data[input] / counts[output];
  }
}

export function averagePoolBackward(p: Ints, dy: Operand, dx: Operand): void {
  const counts = divisors(p, dy.images, dy.data.length);
  dx.data.fill(0);
  for (const { output, input } of cells(p, dy.images)) {
    dx.data[input] += dy.data[output] / counts[output];
  }
}

/** Calls visit(index into y, index into x) for every element that a gather copies. */
function eachGathered(
  g: Ints,
  images: number,
  map: Float64Array,
  visit: (y: number, x: number) => void,
): void {
  for (let image = 0; image < images; image++) {
    for (let i = 0; i < g.out_height; i++) {
      for (let j = 0; j < g.out_width; j++) {
        const row = i * g.stride_height + g.start_row;
        const column = j * g.stride_width + g.start_column;
        if (row < 0 || row >= g.in_height || column < 0 || column >= g.in_width) continue;
        map.forEach((from, k) => {
          if (from < 0) return;
          visit(
            ((image * g.out_height + i) * g.out_width + j) * g.out_channels + k,
            ((image * g.in_height + row) * g.in_width + column) * g.in_channels + from,
          );
        });
      }
    }
  }
}

export function gather(g: Ints, x: Operand, map: Operand, y: Operand): void {
  y.data.fill(0);
  eachGathered(g, x.images, map.data, (to, from) => y.data[to] = x.data[from]);
}

export function gatherBackward(g: Ints, dy: Operand, map: Operand, dx: Operand): void {
  dx.data.fill(0);
  eachGathered(g, dy.images, map.data, (from, to) => dx.data[to] += dy.data[from]);
}
