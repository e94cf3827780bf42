/** Runs the test files under Node with vitest itself; `deno task test` is the usual way. */

import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    // As deno.json's imports do.
    alias: [{ find: /^@std\//, replacement: "deno-std/" }],
    include: ["tests/**/*.test.ts"],
    // The addon keeps a native thread per session, so each file gets a process of its own.
    pool: "forks",
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
