/** Which machines secateur runs on. */

import { existsSync } from "node:fs";
import process from "node:process";
import { SecateurError } from "../../errors.ts";

export interface Platform {
  readonly system: string;
  readonly architecture: string;
  /** Whether programs are linked against the GNU C library. */
  readonly glibc: boolean;
}

export function thisPlatform(): Platform {
  return {
    system: process.platform,
    architecture: process.arch,
    // The loader's path is part of the x86-64 ABI; other C libraries have their own.
    glibc: existsSync("/lib64/ld-linux-x86-64.so.2"),
  };
}

/** Throws "platform-unsupported" unless the platform is 64-bit x86 Linux with glibc. */
export function requirePlatform(platform: Platform = thisPlatform()): void {
  const { system, architecture, glibc } = platform;
  if (system === "linux" && architecture === "x64" && glibc) return;
  const found = `${system} ${architecture}` +
    (system === "linux" && !glibc ? " without glibc" : "");
  throw new SecateurError(
    "platform-unsupported",
    `secateur runs on Linux x64 with glibc, but this is ${found}; use such a machine or a ` +
      `container of one, Debian for example.`,
  );
}
