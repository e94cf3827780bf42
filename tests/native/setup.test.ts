import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { closeSync, existsSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { doctor } from "../../src/commands/doctor.ts";
import { openAddon, requireFresh } from "../../src/native/binding.ts";
import type { SecateurError } from "../../src/errors.ts";
import {
  buildAddon,
  cmakeJs,
  failureLines,
  isFresh,
  openLog,
} from "../../src/native/setup/build.ts";
import {
  installPackages,
  installPrefix,
  refusal,
  type Rights,
} from "../../src/native/setup/install.ts";
import { requirePlatform } from "../../src/native/setup/platform.ts";
import { isCutOff, isSealed } from "../../src/native/setup/seal.ts";
import { buildProgress, setUp } from "../../src/native/setup/setup.ts";
import { addonPath, buildHash, ROOT, sourceHash } from "../../src/native/setup/sources.ts";
import { findProgram, findToolchain, missingPackages } from "../../src/native/setup/toolchain.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "secateur-setup-"));
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe("sourceHash", () => {
  const write = (root: string, name: string, content: string) => {
    mkdirSync(join(root, "native", "cpu"), { recursive: true });
    writeFileSync(join(root, "native", name), content);
  };

  it("depends on names and contents, not on where the folder is", () => {
    const [here, there] = [join(folder, "a"), join(folder, "b")];
    for (const root of [here, there]) {
      write(root, "addon.cpp", "one");
      write(root, "cpu/relu.cpp", "two");
    }
    const first = sourceHash(here);
    expect(first).toMatch(/^[0-9a-f]{64}$/);
    expect(sourceHash(there)).toBe(first);
    write(there, "cpu/relu.cpp", "tWo");
    expect(sourceHash(there)).not.toBe(first);
    write(there, "cpu/relu.cpp", "two");
    expect(sourceHash(there)).toBe(first);
    write(there, "cpu/extra.h", "");
    expect(sourceHash(there)).not.toBe(first);
  });

  it("does not confuse a byte moved from one file to the next", () => {
    const [here, there] = [join(folder, "a"), join(folder, "b")];
    write(here, "a.h", "xy");
    write(here, "b.h", "z");
    write(there, "a.h", "x");
    write(there, "b.h", "yz");
    expect(sourceHash(here)).not.toBe(sourceHash(there));
  });

  it("is undefined where there are no sources", () => {
    expect(sourceHash(folder)).toBeUndefined();
  });
});

describe("platform", () => {
  it("accepts Linux x64 with glibc", () => {
    expect(() => requirePlatform({ system: "linux", architecture: "x64", glibc: true }))
      .not.toThrow();
  });

  it.each([
    { system: "darwin", architecture: "arm64", glibc: false, names: /but this is darwin arm64;/ },
    { system: "linux", architecture: "arm64", glibc: true, names: /but this is linux arm64;/ },
    { system: "linux", architecture: "x64", glibc: false, names: /linux x64 without glibc/ },
  ])("refuses $system $architecture in one sentence", ({ names, ...platform }) => {
    expect(() => requirePlatform(platform)).toThrow(names);
  });
});

describe("packages", () => {
  const root: Rights = { apt: true, root: true, sudo: false, forbidden: false };
  const nothing = { compiler: undefined, cmake: undefined, make: undefined, oneDnn: undefined };

  it("name what the toolchain lacks", () => {
    expect(missingPackages(nothing, {}))
      .toEqual({ required: ["g++", "cmake", "make"], optional: ["libdnnl-dev"] });
    expect(missingPackages({ ...nothing, compiler: "/usr/bin/c++" }, { SECATEUR_ONEDNN: "0" }))
      .toEqual({ required: ["cmake", "make"], optional: [] });
  });

  it("are installed only by root or with a password-less sudo, and never when forbidden", () => {
    expect(installPrefix(root)).toEqual([]);
    expect(installPrefix({ ...root, root: false, sudo: true })).toEqual(["sudo", "-n"]);
    expect(installPrefix({ ...root, root: false })).toBeUndefined();
    expect(installPrefix({ ...root, forbidden: true })).toBeUndefined();
    expect(installPrefix({ ...root, apt: false })).toBeUndefined();
  });

  it("are refused with the exact command", () => {
    expect(
      refusal({ required: ["g++", "make"], optional: ["libdnnl-dev"] }, { ...root, root: false }),
    ).toBe(
      "Building the native addon needs g++, make, which are not installed; run `sudo apt-get " +
        "update && sudo apt-get install -y g++ make libdnnl-dev`, then try again.",
    );
    expect(refusal({ required: ["cmake"], optional: [] }, { ...root, forbidden: true })).toContain(
      "SECATEUR_NO_INSTALL forbids installing; run `apt-get update && apt-get install -y cmake`",
    );
    expect(refusal({ required: ["cmake"], optional: [] }, { ...root, apt: false })).not.toContain(
      "apt-get",
    );
  });

  /** Installs with a pretended apt-get which fails for commands that match. */
  const install = async (required: string[], rights: Rights, fails?: RegExp) => {
    const [said, ran]: [string[], string[]] = [[], []];
    const failure = await installPackages(
      { required, optional: ["libdnnl-dev"] },
      rights,
      (line) => said.push(line),
      (command) => {
        ran.push(command.join(" "));
        return Promise.resolve(fails?.test(command.join(" ")) ? 100 : 0);
      },
    ).then(() => undefined, (thrown: Error) => thrown);
    return { said, ran, failure };
  };

  it("are announced in one line, updated first and installed without questions", async () => {
    const { said, ran, failure } = await install(["g++"], root);
    expect(failure).toBeUndefined();
    expect(said).toHaveLength(1);
    expect(said[0]).toContain("g++ libdnnl-dev");
    const apt = "env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300";
    expect(ran).toEqual([
      `${apt} update`,
      `${apt} install -y --no-install-recommends g++ libdnnl-dev`,
    ]);
  });

  it("leave the optional ones out when only those cannot be had", async () => {
    const { said, ran, failure } = await install(["g++"], root, /libdnnl-dev/);
    expect(failure).toBeUndefined();
    expect(ran.at(-1)).toMatch(/ g\+\+$/);
    expect(said.at(-1)).toContain("without libdnnl-dev");
  });

  it("stop the build when a required one cannot be had", async () => {
    const { failure } = await install(["g++"], root, /install/);
    expect(failure).toMatchObject({ code: "addon-missing" });
    const forbidden = await install(["g++"], { ...root, forbidden: true });
    expect(forbidden.failure).toMatchObject({ code: "addon-missing" });
    expect(forbidden.ran).toEqual([]);
  });

  it("do not stop the build when only optional ones are missing", async () => {
    const { said, ran, failure } = await install([], { ...root, forbidden: true });
    expect(failure).toBeUndefined();
    expect(ran).toEqual([]);
    expect(said).toEqual(["building without libdnnl-dev, which would make it faster"]);
  });
});

describe("setUp", () => {
  const { PATH, SECATEUR_NO_INSTALL } = process.env;

  afterEach(() => {
    process.env.PATH = PATH;
    if (SECATEUR_NO_INSTALL === undefined) delete process.env.SECATEUR_NO_INSTALL;
    else process.env.SECATEUR_NO_INSTALL = SECATEUR_NO_INSTALL;
  });

  it("says what is missing on a bare machine where nothing may be installed", async () => {
    mkdirSync(join(folder, "native", "addon"), { recursive: true });
    writeFileSync(join(folder, "native", "addon.cpp"), "");
    await expect(setUp(folder)).rejects.toThrow(/npm packages .* run `deno install`/);
    symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
    const flock = findProgram("flock") ?? "";
    const bin = join(folder, "bin");
    mkdirSync(bin);
    process.env.PATH = bin;
    process.env.SECATEUR_NO_INSTALL = "1";
    await expect(setUp(folder)).rejects.toThrow(/needs the program flock/);
    symlinkSync(flock, join(bin, "flock"));
    await expect(setUp(folder)).rejects.toThrow(/needs g\+\+, cmake, make, which are not/);
  });
});

describe("the addon's file", () => {
  it("is named, with the command that builds it, when it is missing", () => {
    const path = join(folder, "none.node");
    expect(() => openAddon(path, true)).toThrow(
      /none\.node, but there is no such file; .*`deno task b/,
    );
  });

  it("is refused in one sentence when it is not a library", () => {
    const path = join(folder, "text.node");
    writeFileSync(path, "not a library");
    expect(() => openAddon(path, false)).toThrow(/could not be loaded \(.*\); build it again/);
    expect(() => openAddon(path, true)).toThrow(/is not what was built.*; build it again with/);
  });

  it("is refused before it is loaded when it was cut off, sealed or not", () => {
    const whole = readFileSync(addonPath());
    expect(isSealed(whole)).toBe(true);
    expect(isCutOff(whole)).toBe(false);
    for (const share of [0.1, 0.5, 0.999]) {
      const path = join(folder, "cut.node");
      writeFileSync(path, whole.subarray(0, Math.floor(share * whole.length)));
      // Loading would end this process.
      for (const sealed of [true, false]) {
        expect(() => openAddon(path, sealed)).toThrow(/is not what was built: it was cut off or/);
      }
    }
    const [changed, path] = [Uint8Array.from(whole), join(folder, "changed.node")];
    changed[changed.length >> 1] ^= 1;
    writeFileSync(path, changed);
    expect(() => openAddon(path, true)).toThrow(/is not what was built/);
  });

  it("is refused when it was built from other sources", () => {
    expect(() => requireFresh("abc-onednn", "abc")).not.toThrow();
    expect(() => requireFresh("abc-portable", undefined)).not.toThrow();
    expect(() => requireFresh("abc-onednn", "abd")).toThrow(/built from other sources/);
  });
});

const { compiler, cmake, make } = findToolchain();
const canBuild = compiler && cmake && make && findProgram("flock");

describe.skipIf(!canBuild)("buildAddon", () => {
  const TINY = `#include <node_api.h>
    NAPI_MODULE_INIT() {
      napi_value hash;
      napi_create_string_utf8(env, SECATEUR_SOURCE_HASH, NAPI_AUTO_LENGTH, &hash);
      napi_set_named_property(env, exports, "sourceHash", hash);
      return exports;
    }`;

  /** Where the linker writes, below the folder of the variant. */
  const LIBRARY = join("Release", "secateur.node");

  /** A project with the real build files and next to nothing to compile. */
  const project = () => {
    mkdirSync(join(folder, "native", "addon"), { recursive: true });
    for (const file of ["CMakeLists.txt", "native/CMakeLists.txt", "package.json"]) {
      cpSync(join(ROOT, file), join(folder, file));
    }
    symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
    writeFileSync(join(folder, "native", "addon", "exports.cpp"), TINY);
    writeFileSync(join(folder, "native", "engine.cpp"), "int engine() { return 1; }");
  };
  const build = async (onProgress?: (share: number) => void) => {
    const log = openLog(folder);
    const said: string[] = [];
    const say = (line: string) => said.push(line);
    const options = { root: folder, compiler: compiler ?? "", withOneDnn: false, log, say };
    try {
      await buildAddon({ ...options, ...(onProgress ? { onProgress } : {}) });
    } finally {
      closeSync(log);
    }
    return said;
  };
  const written = () => statSync(addonPath(folder), { bigint: true }).mtimeNs;

  it("builds once for two callers, and again only when a source changes", async () => {
    project();
    expect(isFresh(folder, false)).toBe(false);
    const said = (await Promise.all([build(), build()])).flat();
    expect(said).toEqual(["waiting for another build of the native addon"]);
    expect(isFresh(folder, false)).toBe(true);
    expect(isFresh(folder, true)).toBe(false);
    expect(openAddon(addonPath(folder), true).sourceHash).toBe(buildHash(folder, false));

    const first = written();
    await build();
    expect(written()).toBe(first);

    writeFileSync(join(folder, "native", "engine.cpp"), "int engine() { return 2; }");
    expect(isFresh(folder, false)).toBe(false);
    const shares: number[] = [];
    await build((share) => shares.push(share));
    expect(isFresh(folder, false)).toBe(true);
    expect(written()).toBeGreaterThan(first);
    expect(shares).toEqual(shares.toSorted((a, b) => a - b));
    expect([shares[0] < 1, shares.at(-1)]).toEqual([true, 1]);
  }, 120_000);

  it("builds anew what was damaged, and what a killed link left", async () => {
    project();
    await build();
    const whole = readFileSync(addonPath(folder));
    const damages = [
      () => truncateSync(addonPath(folder), whole.length >> 1),
      () => truncateSync(addonPath(folder), whole.length - 1),
      () => writeFileSync(addonPath(folder), whole.fill(0, 1000, 1001)),
    ];
    for (const damage of damages) {
      damage();
      truncateSync(join(folder, "build", "portable", LIBRARY), 5000);
      expect(isFresh(folder, false)).toBe(false);
      await build();
      expect(isFresh(folder, false)).toBe(true);
    }
    expect(openAddon(addonPath(folder), true).sourceHash).toBe(buildHash(folder, false));
  }, 120_000);

  it("says in a sentence that build/ cannot be written to", async () => {
    project();
    writeFileSync(join(folder, "build"), "in the way");
    const refused = /build: expected to write here, but .*; the native addon is built there, so /;
    expect(() => openLog(folder)).toThrow(refused);
    rmSync(join(folder, "build"));
    mkdirSync(join(folder, "build", "build.log"), { recursive: true });
    expect(() => openLog(folder)).toThrow(/build\.log: expected to write here, but it is a folder/);
    rmSync(join(folder, "build"), { recursive: true });
    mkdirSync(join(folder, "build", "secateur.node"), { recursive: true });
    await expect(build()).rejects.toMatchObject({ code: "addon-failed" });
  }, 120_000);

  it("asks for no network: cmake-js finds all headers in node_modules", () => {
    project();
    const home = join(folder, "home");
    mkdirSync(home);
    const [program, ...args] = cmakeJs(folder);
    if (process.versions.deno !== undefined) {
      expect(args.join(" ")).not.toMatch(/-N|--allow-net|-A/);
    }
    // Where headers would come from, and go to: nothing listens there, and nothing arrives.
    const { PATH } = process.env;
    // By env itself: what is left out of `env`, Deno's spawnSync passes on, such as npx's settings.
    const only = [`PATH=${PATH}`, `HOME=${home}`, "NVM_NODEJS_ORG_MIRROR=http://127.0.0.1:9"];
    const configure = ["configure", "--directory", folder, "--out", join(folder, "made")];
    const cmake = (root: string) =>
      spawnSync("env", ["-i", ...only, program, ...args, ...configure.with(2, root)], {
        encoding: "utf8",
      });
    expect(cmake(folder)).toMatchObject({ status: 0 });
    expect(existsSync(join(home, ".cmake-js"))).toBe(false);

    // Without the word in package.json it would have asked.
    const { binary: _, ...others } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    writeFileSync(join(folder, "package.json"), JSON.stringify(others));
    expect(cmake(folder).status).not.toBe(0);
  }, 120_000);

  it("keeps the addon in place and quotes the compiler when a source is wrong", async () => {
    project();
    await build();
    const before = readFileSync(addonPath(folder));
    writeFileSync(join(folder, "native", "engine.cpp"), "int engine() { return missing; }");
    const failure = await build().then(() => undefined, (thrown: SecateurError) => thrown);
    expect(failure).toMatchObject({
      code: "addon-failed",
      message: expect.stringMatching(/engine\.cpp:1:.*missing/),
    });
    expect(failure?.message).not.toContain("ERROR OMG");
    expect(readFileSync(addonPath(folder)).equals(before)).toBe(true);
  }, 120_000);
});

describe("buildProgress", () => {
  const shown = (isTTY: boolean) => {
    let now = 0, text = "";
    const { update, end } = buildProgress({ isTTY, write: (piece) => text += piece }, () => now);
    for (const share of [0.1, 0.299, 0.5, 0.8, 1]) {
      now += 6_000;
      update(share);
    }
    end();
    return text;
  };
  const title = "secateur: building the native addon, once";

  it("writes a line now and then to a log", () => {
    expect(shown(false)).toBe(`${title}\n${title}: 29%\n${title}: 80%\n`);
  });

  it("redraws one line on a terminal and clears it", () => {
    const text = shown(true);
    expect(text).not.toContain("\n");
    expect(text).toContain(`\r\x1b[K${title}: 50%\r`);
    expect(text.endsWith("\r\x1b[K")).toBe(true);
  });
});

describe("failureLines", () => {
  it("prefers the compiler's errors, and falls back to the end of the log", () => {
    expect(failureLines("[ 50%] Building\na.cpp:1:2: error: no\nmake: stop\n"))
      .toEqual(["a.cpp:1:2: error: no"]);
    const lines = Array.from({ length: 40 }, (_, index) => `line ${index}`);
    expect(failureLines(lines.join("\n"))).toEqual(lines.slice(-12));
  });
});

describe("doctor", () => {
  it("writes JSON lines that end with the result", () => {
    const lines: string[] = [];
    const { ready, findings } = doctor({ json: true, write: (line) => lines.push(line) });
    const events = lines.map((line) => JSON.parse(line));
    expect(events.at(-1)).toMatchObject({ event: "result", ready });
    expect(events.slice(0, -1).map(({ name }) => name)).toEqual([
      ...["runtime", "platform", "compiler", "cmake", "make", "oneDNN", "native addon"],
      ...["instruction sets", "bf16 products", "threads", "GPU"],
    ]);
    expect(findings.find(({ name }) => name === "GPU")?.note).toMatch(/the CPU is used/);
  });

  it("writes one readable line per finding", () => {
    const lines: string[] = [];
    const { findings } = doctor({ write: (line) => lines.push(line) });
    expect(lines).toHaveLength(findings.length);
    expect(lines.find((line) => line.startsWith("threads"))).toMatch(/^threads +\d+$/);
  });
});
