/** Installs Debian packages where that is allowed, and says what to type where it is not. */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import process from "node:process";
import { SecateurError } from "../../errors.ts";
import { findProgram, type Packages } from "./toolchain.ts";

/** What decides whether packages may be installed. */
export interface Rights {
  readonly apt: boolean;
  readonly root: boolean;
  /** Whether `sudo` works without asking for a password. */
  readonly sudo: boolean;
  /** SECATEUR_NO_INSTALL is set. */
  readonly forbidden: boolean;
}

export function rightsHere(): Rights {
  const root = process.getuid?.() === 0;
  const apt = findProgram("apt-get") !== undefined;
  const forbidden = !["", "0", undefined].includes(process.env.SECATEUR_NO_INSTALL);
  const ask = apt && !root && !forbidden && findProgram("sudo") !== undefined;
  const sudo = ask && spawnSync("sudo", ["-n", "true"], { stdio: "ignore" }).status === 0;
  return { apt, root, sudo, forbidden };
}

/**
 * The words before `apt-get` that give it the right to install, or undefined when it may not run.
 */
export function installPrefix(rights: Rights): readonly string[] | undefined {
  if (!rights.apt || rights.forbidden) return undefined;
  return rights.root ? [] : rights.sudo ? ["sudo", "-n"] : undefined;
}

/** One sentence for a user whose build lacks packages that may not be installed for them. */
export function refusal({ required, optional }: Packages, rights: Rights): string {
  const names = [...required, ...optional].join(" ");
  const lead = `Building the native addon needs ${required.join(", ")}, which ` +
    `${required.length === 1 ? "is" : "are"} not installed`;
  if (!rights.apt) {
    return `${lead}; install what corresponds to these Debian packages, then try again.`;
  }
  const sudo = rights.root ? "" : "sudo ";
  const why = rights.forbidden ? " and SECATEUR_NO_INSTALL forbids installing" : "";
  return `${lead}${why}; run \`${sudo}apt-get update && ${sudo}apt-get install -y ${names}\`, ` +
    "then try again.";
}

/**
 * Brings the packages if this user may, after saying so in one line. Throws "addon-missing" when
 * a required one is missing and may not, or cannot, be installed; optional ones only cost speed.
 * `run` executes a command with its output going to the build log and gives its exit status.
 */
export async function installPackages(
  packages: Packages,
  rights: Rights,
  say: (line: string) => void,
  run: (command: readonly string[]) => Promise<number>,
): Promise<void> {
  const { required, optional } = packages;
  if (required.length + optional.length === 0) return;
  const prefix = installPrefix(rights);
  if (prefix === undefined) {
    if (required.length > 0) throw new SecateurError("addon-missing", refusal(packages, rights));
    say(`building without ${optional.join(", ")}, which would make it faster`);
    return;
  }
  const all = [...required, ...optional];
  say(
    `installing ${all.join(" ")} with ${[...prefix, "apt-get"].join(" ")} ` +
      "(SECATEUR_NO_INSTALL=1 forbids this)",
  );
  const apt = [...prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    .concat("-o", "DPkg::Lock::Timeout=300");
  // A failed update is no reason to stop: the lists at hand may do, and installing will tell.
  await run([...apt, "update"]);
  const install = [...apt, "install", "-y", "--no-install-recommends"];
  if (await run([...install, ...all]) === 0) return;
  if (required.length > 0 && await run([...install, ...required]) !== 0) {
    throw new SecateurError(
      "addon-missing",
      `apt-get could not install ${required.join(", ")}, which building the native addon needs; ` +
        "its output is in build/build.log.",
    );
  }
  if (optional.length > 0) say(`building without ${optional.join(", ")}, which did not install`);
}

/** Runs a command to its end; output goes to a file descriptor, and to `onOutput` if given. */
export function runCommand(
  command: readonly string[],
  output: number,
  onOutput?: (text: string) => void,
): Promise<number> {
  const [program = "", ...args] = command;
  return new Promise((resolve, reject) => {
    const child: ChildProcess = spawn(program, args, {
      stdio: ["ignore", onOutput ? "pipe" : output, output],
    });
    child.stdout?.setEncoding("utf8").on("data", (text: string) => onOutput?.(text));
    child.on("error", reject);
    child.on("close", (code) => resolve(code ?? 1));
  });
}
