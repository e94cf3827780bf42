/** Contestants that are whole processes: what they cost from the start, or at their peak. */

import { spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { SecateurError } from "../../src/errors.ts";

/** What a process printed, and when, counted from before it was started. */
export interface ChildReport {
  readonly seconds: number;
  readonly line: string;
}

/**
 * Starts a command and waits for the first line it prints; the process is then ended. Throws
 * "addon-failed" when it ends without one.
 */
export function firstLineOf(
  command: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<ChildReport> {
  const [program, ...args] = command;
  const started = performance.now();
  const child = spawn(program, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...environment },
  });
  let text = "", errors = "";
  let report: ChildReport | undefined;
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => errors += chunk);
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
    if (report !== undefined || !text.includes("\n")) return;
    report = { seconds: (performance.now() - started) / 1000, line: text.split("\n")[0] };
    child.kill("SIGKILL");
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", () => {
      if (report !== undefined) return resolve(report);
      const reason = errors.trim().split("\n").at(-1) || "it printed nothing";
      reject(new SecateurError("addon-failed", `${args.at(0)} failed: ${reason}.`));
    });
  });
}

/** The command that runs a file of bench/children with this runtime. */
export function childCommand(file: string, ...args: readonly string[]): string[] {
  const path = fileURLToPath(new URL(`../children/${file}`, import.meta.url));
  return [process.execPath, "run", "-A", "--no-prompt", path, ...args];
}

const memory = z.object({ bytes: z.number() });

/** The bytes that a process reports on its first line, as {"bytes": n}. */
export async function bytesOf(
  command: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<number> {
  const { line } = await firstLineOf(command, environment);
  return memory.parse(JSON.parse(line)).bytes;
}
