// Runs native work in a process or worker of its own that then ends badly, for session.test.ts.
// Arguments: addon, file of a serialised program, what to do.

import { readFileSync } from "node:fs";
import process from "node:process";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

const [addonPath, programPath, what] = isMainThread ? process.argv.slice(2) : workerData;
const module = { exports: {} };
process.dlopen(module, addonPath);
const program = readFileSync(programPath);
const open = () => new module.exports.Session(program, 2, "portable");

/** Runs again and again, so that something always runs. */
function keepBusy(session) {
  let job = 0;
  const next = () => session.run(++job, 0, [], [], [], false).then(next, () => {});
  for (let i = 0; i < 4; i++) next();
}

function inWorker(task) {
  return new Worker(new URL(import.meta.url), { workerData: [addonPath, programPath, task] });
}

const tasks = {
  exit() {
    keepBusy(open());
    setTimeout(() => process.exit(3), 50);
  },
  throw() {
    keepBusy(open());
    setTimeout(() => {
      throw new Error("on purpose");
    }, 50);
  },
  idle() {
    open(); // must not keep the process
  },
  async once() {
    const session = open();
    const { fetched } = await session.run(1, 0, [], [], [0], false);
    parentPort.postMessage(fetched[0].byteLength);
  },
  busy() {
    keepBusy(open());
    parentPort.postMessage("started");
  },
  async workers() {
    keepBusy(open());
    const results = await Promise.all([0, 1].map(() =>
      new Promise((resolve, reject) => {
        inWorker("once").once("message", resolve).once("error", reject);
      })
    ));
    console.log(JSON.stringify(results));
    process.exit(0);
  },
  async terminate() {
    const worker = inWorker("busy");
    await new Promise((resolve) => worker.once("message", resolve));
    await worker.terminate();
    console.log("terminated");
  },
  /** MiB that the process has grown by at most, of what nothing holds on to. */
  async pressure() {
    const unknowns = 1024; // 8 MiB
    const consumer = {
      covariance: new Float64Array(unknowns * unknowns),
      weights: new Float64Array(unknowns),
      owners: new Int32Array(unknowns),
    };
    const resident = () => process.memoryUsage().rss / 2 ** 20;
    const before = resident();
    let most = 0;
    for (let i = 0; i < 128; i++) {
      new module.exports.Reproduction([consumer], 1, 0);
      await new Promise((resolve) => setTimeout(resolve, 1));
      most = Math.max(most, resident() - before);
    }
    console.log(most);
  },
  refusal() {
    try {
      new module.exports.Reproduction(new Array(2 ** 32 - 1), 1, 0);
    } catch (refused) {
      console.log(refused.code);
    }
  },
  async collect() {
    const threads = () =>
      Number(/Threads:\s*(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]);
    const before = threads();
    for (let i = 0; i < 40; i++) open();
    const most = threads();
    for (let i = 0; i < 50 && threads() > before + 20; i++) {
      globalThis.gc();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    console.log(JSON.stringify({ opened: most - before, left: threads() - before }));
    process.exit(0);
  },
};

await tasks[what]();
