/**
 * The part of vitest's interface that the tests use, over node:test and @vitest/expect, so that
 * `deno test` runs the same files as vitest does under Node. deno.json maps "vitest" to this file.
 */

import { after, afterEach as afterEachOf, before, beforeEach as beforeEachOf } from "node:test";
import * as runner from "node:test";
import { format } from "node:util";
import { expect } from "./expect.ts";

export { expect };

type Body = (context: TestContext) => unknown;
type Hook = () => unknown;

/** What a test body may ask of the runner. */
export interface TestContext {
  /** Ends the test as skipped. */
  skip(reason?: string): void;
}

/** The options vitest accepts between name and body. */
export interface TestOptions {
  readonly timeout?: number;
  readonly skip?: boolean;
  readonly only?: boolean;
  readonly todo?: boolean;
}

/** Registers a test or a suite; options, or a timeout in milliseconds after the body. */
interface Register<F> {
  (name: string, body: F, timeout?: number): void;
  (name: string, options: TestOptions, body: F): void;
}

/** Registers one test or suite per case; the cases' values go into the body and the name. */
interface RegisterEach {
  <T extends readonly [unknown, ...unknown[]]>(
    cases: readonly T[],
  ): (name: string, body: (...values: T) => unknown, timeout?: number) => void;
  <T>(
    cases: readonly T[],
  ): (name: string, body: (value: T) => unknown, timeout?: number) => void;
}

/** `it` and `describe` with their modifiers. */
interface Registrar<F> extends Register<F> {
  readonly skip: Register<F>;
  readonly only: Register<F>;
  todo(name: string): void;
  skipIf(condition: unknown): Register<F>;
  runIf(condition: unknown): Register<F>;
  readonly each: RegisterEach;
}

/** Equal to `testTimeout` in vitest.config.ts. */
const TIMEOUT_MS = 60_000;

const SKIPPED = Symbol("skipped");

/** Runs a test body with vitest's context, and lets `skip` end it early. */
async function runBody(body: Body, t: runner.TestContext): Promise<void> {
  const context: TestContext = {
    skip(reason) {
      t.skip(reason);
      throw SKIPPED;
    },
  };
  try {
    await body(context);
  } catch (thrown) {
    if (thrown === SKIPPED) return;
    throw thrown;
  }
}

function registerTest(name: string, options: TestOptions, body: Body): void {
  runner.test(name, { timeout: TIMEOUT_MS, ...options }, (t) => runBody(body, t));
}

function registerSuite(name: string, options: TestOptions, body: Hook): void {
  runner.describe(name, options, () => void body());
}

/** Fills `%s`-style and `$key` directives as vitest does; `%#` is the case's index. */
function nameOfCase(name: string, values: readonly unknown[], index: number): string {
  const [first] = values;
  const named = name.replace(/%#/g, String(index)).replace(
    /\$([A-Za-z_][\w.]*)/g,
    (directive, path: string) => {
      let value: unknown = first;
      for (const key of path.split(".")) {
        if (typeof value !== "object" || value === null || !(key in value)) return directive;
        value = (value as Record<string, unknown>)[key];
      }
      return String(value);
    },
  );
  const wanted = named.match(/%[sdifjoO]/g)?.length ?? 0;
  return wanted === 0 ? named : format(named, ...values.slice(0, wanted));
}

function registrar<F extends (...values: never[]) => unknown>(
  register: (name: string, options: TestOptions, body: F) => void,
): Registrar<F> {
  const withOptions =
    (forced: TestOptions): Register<F> =>
    (name: string, second: F | TestOptions, third?: F | number) => {
      const [options, body] = typeof second === "function"
        ? [typeof third === "number" ? { timeout: third } : {}, second]
        : [second, third as F];
      register(name, { ...options, ...forced }, body);
    };
  const each =
    (cases: readonly unknown[]) =>
    (name: string, body: (...values: never[]) => unknown, timeout?: number) => {
      cases.forEach((entry, index) => {
        const values = Array.isArray(entry) ? entry : [entry];
        const bound = (() => body(...values as never[])) as unknown as F;
        register(
          nameOfCase(name, values, index),
          timeout === undefined ? {} : { timeout },
          bound,
        );
      });
    };
  return Object.assign(withOptions({}), {
    skip: withOptions({ skip: true }),
    only: withOptions({ only: true }),
    todo: (name: string) => register(name, { todo: true }, (() => {}) as unknown as F),
    skipIf: (condition: unknown) => withOptions(condition ? { skip: true } : {}),
    runIf: (condition: unknown) => withOptions(condition ? {} : { skip: true }),
    each: each as RegisterEach,
  });
}

export const it: Registrar<Body> = registrar<Body>(registerTest);
export const test: Registrar<Body> = it;
export const describe: Registrar<Hook> = registrar<Hook>(registerSuite);

/** Hooks take a timeout in milliseconds, as vitest's do. */
function hook(register: (body: Hook, options: { timeout: number }) => void) {
  return (body: Hook, timeout: number = TIMEOUT_MS): void => {
    register(async () => void await body(), { timeout });
  };
}

export const beforeAll: (body: Hook, timeout?: number) => void = hook(before);
export const afterAll: (body: Hook, timeout?: number) => void = hook(after);
export const beforeEach: (body: Hook, timeout?: number) => void = hook(beforeEachOf);
export const afterEach: (body: Hook, timeout?: number) => void = hook(afterEachOf);
