/** The PyTorch side: finding it, installing it, and opening its contestants. */

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { z } from "zod";
import { SecateurError } from "../src/errors.ts";
import { ROOT } from "../src/native/setup/sources.ts";
import type { BenchmarkOptions, Contestant } from "./contestant.ts";
import { type PeerInterpreter, PeerProcess, peerScript } from "./peer_process.ts";

/** Where bench/peers/install.sh puts its environment. */
const INSTALLED = join(ROOT, "build", "peers", "bin", "python");

const versions = z.record(z.string(), z.string());

/** Either the interpreter to compare with, or a sentence that says why there is none. */
export type PeerSearch =
  | { readonly interpreter: PeerInterpreter }
  | { readonly missing: string };

/**
 * The Python of SECATEUR_PEER_PYTHON, else the one installed under build/peers.
 * Throws "option-invalid" when SECATEUR_PEER_PYTHON names one without PyTorch.
 */
export function findPeers(): PeerSearch {
  const chosen = process.env.SECATEUR_PEER_PYTHON;
  const path = chosen ?? INSTALLED;
  const found = spawnSync(path, [peerScript("versions.py")], { encoding: "utf8" });
  if (found.status === 0) {
    return { interpreter: { path, versions: versions.parse(JSON.parse(found.stdout)) } };
  }
  if (chosen !== undefined) {
    const reason = found.error?.message ?? found.stderr.trim().split("\n").at(-1);
    throw new SecateurError(
      "option-invalid",
      `Expected SECATEUR_PEER_PYTHON to name a Python with PyTorch, numpy and Pillow, but ` +
        `${path} is none: ${reason}.`,
    );
  }
  const what = existsSync(path) ? "is broken" : "is not installed";
  return {
    missing:
      `The comparison with PyTorch is left out: its environment under build/peers ${what}; ` +
      "install it with `deno task bench --install-peers`.",
  };
}

/** Installs the environment under build/peers. Throws "addon-failed" when that does not work. */
export function installPeers(): void {
  const script = peerScript("install.sh");
  const { status } = spawnSync("sh", [script, join(ROOT, "build", "peers")], { stdio: "inherit" });
  if (status === 0) return;
  throw new SecateurError(
    "addon-failed",
    "PyTorch could not be installed for the comparison; the lines above say why. Everything " +
      "else works without it.",
  );
}

const opened = z.object({ about: z.string(), tried: z.record(z.string(), z.unknown()) });
const measured = z.object({ figure: z.number() });

/**
 * Trials of one work, by its number of images: the configurations tried, and the seconds each took
 * for a unit of the work, or why it failed.
 */
export type Trials = Record<string, Readonly<Record<string, unknown>>>;

/**
 * A contestant of bench/peers/<module>.py, in a process of its own. The module measures its
 * configurations first and keeps the best, which `about` then names. What
 * `trials` already knows is not tried again; its own are added to them.
 */
export async function openPeer(
  interpreter: PeerInterpreter,
  module: string,
  options: BenchmarkOptions,
  parameters: Readonly<Record<string, unknown>>,
  trials: Trials = {},
): Promise<Contestant> {
  const { threads, quick, seconds } = options;
  const command = [interpreter.path, peerScript("serve.py"), module, String(threads)];
  const peer = new PeerProcess(module, command);
  try {
    const settings = { ...parameters, threads, quick, seconds, known: trials };
    const { about, tried } = opened.parse(
      await peer.request({ do: "open", parameters: settings }),
    );
    trials[String(parameters.images)] = tried;
    return {
      about,
      ...(Object.keys(tried).length > 0 ? { tried } : {}),
      measure: async () => measured.parse(await peer.request({ do: "measure" })).figure,
      close: () => peer.close(),
    };
  } catch (thrown) {
    await peer.close();
    throw thrown;
  }
}
