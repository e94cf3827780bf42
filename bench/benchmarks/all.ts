/** Every benchmark, in the order they run. */

import type { Benchmark } from "../contestant.ts";
import { data } from "./data.ts";
import { inference } from "./inference.ts";
import { memory } from "./memory.ts";
import { rank } from "./rank.ts";
import { scaling } from "./scaling.ts";
import { shapley } from "./shapley.ts";
import { start } from "./start.ts";
import { step } from "./step.ts";

export const BENCHMARKS: readonly Benchmark[] = [
  inference,
  step,
  rank,
  shapley,
  data,
  start,
  memory,
  scaling,
];
