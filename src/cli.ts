/** argv -> command. Every failure is one sentence on standard error and a non-zero exit code. */

import { Command, CommanderError } from "commander";
import process from "node:process";
import { enterTypedFolder } from "./commands/terminal/folder.ts";
import { interruption } from "./commands/terminal/interruption.ts";
import { onStarterGone } from "./commands/terminal/starter.ts";
import { standardError, standardOutput } from "./commands/terminal/streams.ts";
import { declareOptions, type OptionTable } from "./commands/options/parse.ts";
import { BATCH_OPTIONS } from "./commands/options/batch.ts";
import { CACHE_OPTIONS } from "./commands/options/cache.ts";
import { EVALUATE_OPTIONS, INSPECT_OPTIONS, PROFILE_OPTIONS } from "./commands/options/model.ts";
import { PRUNE_OPTIONS } from "./commands/options/prune.ts";
import { WORKER_OPTIONS } from "./commands/options/worker.ts";
import { JSON_OPTION } from "./commands/options/shared.ts";
import { REPORT_OPTIONS } from "./commands/options/report.ts";
import { TRAIN_OPTIONS } from "./commands/options/train.ts";
import { reasonOf, SecateurError } from "./errors.ts";
import { outliveFileSizeLimit } from "./formats/atomic.ts";
import { printable } from "./printable.ts";

const EXIT = { ok: 0, failure: 1, usage: 2, interrupted: 130 } as const;

/** Options as commander collected them: text, true and false. */
export type RawOptions = Readonly<Record<string, unknown>>;

type Action = (raw: RawOptions, signal: AbortSignal) => Promise<number | void>;

// Commands are imported when they run, so that help and mistakes answer at once.
const ACTIONS: Readonly<
  Record<
    string,
    {
      about: string;
      table: OptionTable;
      /** What may stand beside the options, as help shows it; arrives as `operands`. */
      operands?: string;
      load: () => Promise<Action>;
    }
  >
> = {
  prune: {
    about: "cut a model to a budget; without arguments, the embedded default",
    table: PRUNE_OPTIONS,
    load: async () => (await import("./commands/prune.ts")).runPrune,
  },
  batch: {
    about: "the pruning runs of a job file, several at a time",
    table: BATCH_OPTIONS,
    operands: "[file...]",
    load: async () => (await import("./commands/batch.ts")).runBatch,
  },
  train: {
    about: "train a model; without arguments, the embedded default",
    table: TRAIN_OPTIONS,
    load: async () => (await import("./commands/train.ts")).runTrain,
  },
  evaluate: {
    about: "loss and accuracy of a model on a data set",
    table: EVALUATE_OPTIONS,
    load: async () => (await import("./commands/evaluate.ts")).runEvaluate,
  },
  inspect: {
    about: "layers, channel groups and cost of a model",
    table: INSPECT_OPTIONS,
    load: async () => (await import("./commands/inspect.ts")).runInspect,
  },
  profile: {
    about: "time a model's layers at every width, for budgets in time",
    table: PROFILE_OPTIONS,
    load: async () => (await import("./commands/profile.ts")).runProfile,
  },
  worker: {
    about: "run jobs of a queue that batch --queue fills",
    table: WORKER_OPTIONS,
    load: async () => (await import("./commands/worker.ts")).runWorker,
  },
  report: {
    about: "many runs on one page, with CSV and JSON beside it",
    table: REPORT_OPTIONS,
    operands: "[folder...]",
    load: async () => (await import("./commands/report.ts")).runReport,
  },
  cache: {
    about: "finished stages that runs share: list, verify, prune",
    table: CACHE_OPTIONS,
    load: async () => (await import("./commands/cache.ts")).runCache,
  },
  doctor: {
    about: "what was found on this machine",
    table: JSON_OPTION,
    load: async () => {
      const { doctor } = await import("./commands/doctor.ts");
      return (raw) => Promise.resolve(doctor({ json: raw.json === true }).ready ? 0 : 1);
    },
  },
};

/** An abort signal for Ctrl-C and SIGTERM, here or to the npx that started this. */
function interruptions(): AbortSignal {
  const { signal, interrupt } = interruption(
    (line) => standardError.write(`\n${line}\n`),
    () => process.exit(EXIT.interrupted),
  );
  process.on("SIGINT", interrupt);
  process.on("SIGTERM", interrupt);
  onStarterGone(() => {
    standardError.write("\nWhat started this run has ended.");
    interrupt();
  });
  return signal;
}

/** Options that there were, and what does their work now. */
const RETIRED: Readonly<Record<string, string>> = {
  "--size": "--resize and --crop",
  "--normalisation": "--preset, or --mean and --std",
};

/** commander's "error: unknown option '--epoch'\n(Did you mean --epochs?)" as one sentence. */
function usageSentence(message: string): string {
  const [what, hint] = message.trim().replace(/^error: /, "").split("\n");
  const suggestion = /^\(Did you mean (.*)\?\)$/.exec(hint ?? "")?.[1];
  const found = what.replace(/\.$/, "").replace(/\. /g, ": ");
  const retired = RETIRED[/^unknown option '(.*)'$/.exec(what)?.[1] ?? ""];
  const advice = retired !== undefined
    ? `its work is done by ${retired}`
    : suggestion === undefined
    ? "--help shows what there is"
    : `did you mean ${suggestion}?`;
  return `${found[0].toUpperCase()}${found.slice(1)}; ${
    advice.endsWith("?") ? advice : `${advice}.`
  }`;
}

/** The exit code and the sentence of anything thrown. */
function explain(thrown: unknown): { code: number; sentence?: string } {
  if (thrown instanceof CommanderError) {
    if (thrown.exitCode === 0) return { code: EXIT.ok };
    return { code: EXIT.usage, sentence: usageSentence(thrown.message) };
  }
  if (thrown instanceof SecateurError) {
    const usage = thrown.code === "option-unknown" || thrown.code === "option-invalid";
    const interrupted = thrown.code === "cancelled";
    const code = interrupted ? EXIT.interrupted : usage ? EXIT.usage : EXIT.failure;
    return { code, sentence: thrown.message };
  }
  if (thrown instanceof Error && thrown.name === "AbortError") {
    return { code: EXIT.interrupted, sentence: "Stopped." };
  }
  const reason = reasonOf(thrown).split("\n")[0].replace(/\.$/, "");
  const sentence =
    `Something went wrong inside secateur (${reason}); SECATEUR_DEBUG=1 shows where.`;
  return { code: EXIT.failure, sentence };
}

/** Help goes to standard output; what commander says of mistakes arrives as what it throws. */
const SPEECH = {
  writeOut: (text: string) => standardOutput.write(text),
  writeErr: () => {},
};

function program(run: (action: Action, raw: RawOptions) => Promise<void>): Command {
  const root = new Command("deno task")
    .description("Prunes convolutional networks by information concentration and Shapley values.")
    .exitOverride()
    .configureOutput(SPEECH)
    .helpCommand(false);
  for (const [name, { about, table, operands, load }] of Object.entries(ACTIONS)) {
    const command = root.command(name).description(about)
      .exitOverride().configureOutput(SPEECH);
    declareOptions(command, table).allowExcessArguments(false);
    if (operands === undefined) command.action(async (raw) => run(await load(), raw));
    else {
      command.argument(operands).action(async (given: string[], raw: RawOptions) =>
        run(await load(), { ...raw, operands: given })
      );
    }
  }
  return root;
}

/** Runs the command line and returns the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  outliveFileSizeLimit();
  let code: number = EXIT.ok;
  const root = program(async (action, raw) => {
    code = await action(raw, interruptions()) ?? EXIT.ok;
  });
  try {
    if (args.length === 0) {
      standardOutput.write(root.helpInformation());
      return EXIT.usage;
    }
    await root.parseAsync(args, { from: "user" });
    return code;
  } catch (thrown) {
    return fail(thrown);
  }
}

/** Says what went wrong and returns the exit code for it. */
function fail(thrown: unknown): number {
  const { code, sentence } = explain(thrown);
  if (sentence !== undefined) standardError.write(`${printable(sentence)}\n`);
  if (process.env.SECATEUR_DEBUG && thrown instanceof Error) {
    standardError.write(`${thrown.stack?.split("\n").map(printable).join("\n")}\n`);
  }
  return code;
}

/** Ends the process once what was written has left it. */
async function leave(code: number): Promise<never> {
  await standardOutput.flushed();
  const { loss } = standardOutput;
  if (loss !== undefined) {
    standardError.write(
      `Standard output took no more (${loss}), so what was to be shown there is incomplete; ` +
        `files that the command writes are not.\n`,
    );
  }
  await standardError.flushed();
  process.exit(code === EXIT.ok && loss !== undefined ? EXIT.failure : code);
}

if (import.meta.main) {
  for (const event of ["uncaughtException", "unhandledRejection"]) {
    process.on(event, (thrown: unknown) => process.exit(fail(thrown)));
  }
  let code: number;
  try {
    enterTypedFolder();
    code = await main(process.argv.slice(2));
  } catch (thrown) {
    code = fail(thrown);
  }
  await leave(code);
}
