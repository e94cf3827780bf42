/**
 * Fuzzes the readers and prints what they made of it; exits with 1 when something was found.
 *
 *     deno task fuzz [--count 10000] [--seed 1] [--first 0] [--reader onnx]
 */

import process from "node:process";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { fuzz } from "./fuzz.ts";
import { READERS } from "./readers.ts";

const { values } = parseArgs({
  options: {
    count: { type: "string", default: "10000" },
    seed: { type: "string", default: "1" },
    first: { type: "string", default: "0" },
    reader: { type: "string" },
  },
});

/** A thread that ends the process, naming the input, when one input takes a minute. */
const WATCHDOG = `
  import { workerData } from "node:worker_threads";
  import process from "node:process";
  let last = -1;
  setInterval(() => {
    const now = Atomics.load(workerData, 0);
    if (now === last) {
      process.stderr.write("\\ninput " + now + " does not end\\n");
      process.kill(process.pid, "SIGKILL");
    }
    last = now;
  }, 60_000);
`;

const at = new Int32Array(new SharedArrayBuffer(4));
const watchdog = new Worker(new URL(`data:text/javascript,${encodeURIComponent(WATCHDOG)}`), {
  workerData: at,
});

function onInput(name: string, index: number): void {
  Atomics.store(at, 0, index);
  if (index % 1000 === 0) process.stderr.write(`\r${name} ${index} `);
}

let found = 0;
for (const reader of READERS) {
  if (values.reader !== undefined && values.reader !== reader.name) continue;
  const [seed, first, count] = [values.seed, values.first, values.count].map(Number);
  const started = performance.now();
  const result = fuzz(reader, {
    seed,
    first,
    count,
    onInput: (index) => onInput(reader.name, index),
  });
  const seconds = Math.round((performance.now() - started) / 1000);
  const outcomes = [...result.outcomes].map(([outcome, inputs]) => `${outcome} ${inputs}`);
  const { index, milliseconds } = result.slowest;
  console.log(
    `\n${reader.name}: ${count} inputs in ${seconds} s: ${outcomes.join(", ")}; the slowest, ` +
      `${index}, took ${Math.round(milliseconds)} ms; ${result.findings.length} findings`,
  );
  for (const finding of result.findings.slice(0, 50)) {
    console.log(`${finding.reader} ${finding.seed} ${finding.index}: ${finding.what}`);
  }
  found += result.findings.length;
}
console.log(`peak memory ${Math.round(process.resourceUsage().maxRSS / 1024)} MiB`);
await watchdog.terminate();
process.exitCode = found === 0 ? 0 : 1;
