/** Runs the command line as people do: as a process of its own, with the permissions of its task. */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import process from "node:process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** The Deno that runs the tests, or the one on the PATH when Node does; undefined without any. */
export function denoProgram(): string | undefined {
  if (process.versions.deno !== undefined) return process.execPath;
  return spawnSync("deno", ["--version"]).status === 0 ? "deno" : undefined;
}

/** What a finished command said. */
export interface Finished {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export interface RunOptions {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  /** A shell command around it, in which "$@" stands for it: 'ulimit -f 64; exec "$@"'. */
  readonly shell?: string;
  /** Called with every piece of standard output, and a way to interrupt. */
  readonly onOutput?: (text: string, interrupt: () => void) => void;
}

/** Arguments before the program's own: those of the task in deno.json, without its build. */
function taskArguments(task: string): string[] {
  const { tasks } = JSON.parse(readFileSync(`${ROOT}deno.json`, "utf8")) as {
    tasks: Record<string, { command: string }>;
  };
  const words = tasks[task].command.split(" ").slice(1, -1);
  return words.map((word) => word === "src/cli.ts" ? `${ROOT}src/cli.ts` : word);
}

/** Commands whose tasks have permissions of their own; the others have those of evaluate. */
const OWN_TASKS = ["profile", "batch", "worker", "cache", "report"];

/** Runs a command line, such as ["evaluate", "--json"], to its end. */
export function runCommand(args: readonly string[], options: RunOptions): Promise<Finished> {
  return startCommand(args, options).finished;
}

/** Starts a command line: its process, and what it will have said at its end. */
export function startCommand(
  args: readonly string[],
  options: RunOptions,
): { readonly child: ChildProcess; readonly finished: Promise<Finished> } {
  const deno = denoProgram()!;
  const task = OWN_TASKS.includes(args[0]) ? args[0] : "evaluate";
  const line = [deno, ...taskArguments(task), ...args];
  const [program, ...rest] = options.shell === undefined
    ? line
    : ["/bin/sh", "-c", options.shell, "sh", ...line];
  const child = spawn(program, rest, {
    cwd: options.cwd,
    // Decoded pictures of tests have no place in the cache of whoever runs them.
    env: {
      ...process.env,
      NO_COLOR: "1",
      SECATEUR_CACHE: `${options.cwd}/.cache`,
      // Nor has a plugin that was built here anything to say in them.
      SECATEUR_CUDA_PLUGIN: `${options.cwd}/no-plugin.so`,
      ...options.env,
    },
  });
  let out = "", err = "";
  child.stdout.on("data", (piece) => {
    out += piece;
    options.onOutput?.(out, () => child.kill("SIGINT"));
  });
  child.stderr.on("data", (piece) => err += piece);
  const finished = new Promise<Finished>((resolve, reject) => {
    child.on("error", reject);
    // Deno's child_process reports the exit code 130 as death by the signal it stands for.
    child.on("close", (code, signal) => {
      resolve({ code: signal === "SIGINT" ? 130 : code, out, err });
    });
  });
  return { child, finished };
}
