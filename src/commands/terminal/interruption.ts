/** Ctrl-C: the first asks to stop at a checkpoint, a later one ends the process. */

/** npx and deno task pass a Ctrl-C on that the terminal has sent here too: within so many ms. */
const ECHO = 1000;

/** What is done about signals. */
export interface Interruption {
  readonly signal: AbortSignal;
  /** To be called with every SIGINT and SIGTERM. */
  readonly interrupt: () => void;
}

/** `say` tells what the first one does, `end` ends the process; `now` is a clock in milliseconds. */
export function interruption(
  say: (line: string) => void,
  end: () => void,
  now: () => number = () => performance.now(),
): Interruption {
  const controller = new AbortController();
  let asked = -Infinity;
  const interrupt = () => {
    if (!controller.signal.aborted) {
      asked = now();
      say("Stopping at the next checkpoint; once more stops at once.");
      controller.abort();
    } else if (now() - asked >= ECHO) end();
  };
  return { signal: controller.signal, interrupt };
}
