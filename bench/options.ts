/** The command line of `deno task bench`. */

import { Command, Option } from "commander";
import { tmpdir } from "node:os";
import { z } from "zod";
import { flag, positive, text, whole } from "../src/commands/options/values.ts";
import { DEVICE_OPTION } from "../src/commands/options/shared.ts";
import { declareOptions, type OptionValues, parseOptions } from "../src/commands/options/parse.ts";
import { BENCHMARKS } from "./benchmarks/all.ts";

const OPTIONS = {
  threads: {
    schema: whole(1, 1024).default(2),
    value: "count",
    help: "threads of either side (2)",
  },
  ...DEVICE_OPTION,
  rows: {
    schema: text("part of a row's name").optional(),
    value: "text",
    help: "only the rows whose name contains this, such as bf16",
  },
  rounds: {
    schema: whole(1, 1000).optional(),
    value: "count",
    help: "measurements of each contestant, in turns (7; with --quick 1)",
  },
  seconds: {
    schema: positive(600).optional(),
    value: "count",
    help: "least seconds of work in one measurement of a rate (0.5; with --quick 0.01)",
  },
  quick: {
    schema: flag(),
    help: "tiny sizes that only show that everything runs; written with --out alone",
  },
  profile: {
    schema: flag(),
    help: "print and write where the time of inference and of the step goes, instead of measuring",
  },
  peers: {
    schema: z.boolean().optional(),
    help: "compare with PyTorch, and refuse to run where it is not installed",
  },
  installPeers: {
    schema: flag(),
    help: "first install PyTorch under build/peers",
  },
  out: {
    schema: text("a folder").optional(),
    value: "folder",
    help: "where results are written (bench/results)",
  },
  folder: {
    schema: text("a folder").default(`${tmpdir()}/secateur-bench`),
    value: "folder",
    help: "where pictures for the measurements are kept",
  },
} as const;

export interface BenchCommand extends OptionValues<typeof OPTIONS> {
  /** Which benchmarks; all without names. */
  readonly names: readonly string[];
}

/** Parses arguments and runs `action`; help is printed by commander. */
export async function withOptions(
  args: readonly string[],
  action: (command: BenchCommand) => Promise<void>,
): Promise<void> {
  const about = BENCHMARKS.map(({ name, about }) => `  ${name.padEnd(10)} ${about}`).join("\n");
  const command = new Command("deno task bench")
    .description(`Measures secateur, and PyTorch beside it where it is installed.\n\n${about}`)
    .argument("[names...]", "benchmarks to run; all by default")
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  declareOptions(command, OPTIONS);
  command.addOption(new Option("--no-peers", "leave out the comparison with PyTorch"));
  // Neither --peers nor --no-peers: compared where PyTorch is there.
  command.setOptionValue("peers", undefined);
  command.action(async (names: string[], raw: Readonly<Record<string, unknown>>) => {
    await action({ ...parseOptions(OPTIONS, raw), names });
  });
  await command.parseAsync(args, { from: "user" });
}
