/** Connections to the Redis or Valkey that holds a queue of jobs. */

import { Redis } from "ioredis";
import { reasonOf, SecateurError } from "../../errors.ts";

/** The queue that batches fill and workers empty. */
export const QUEUE = "secateur";

/** Milliseconds to answer the first time. */
const FIRST_ANSWER = 5000;
/** Milliseconds between two tries to reach one that has gone away, at most. */
const LONGEST_PAUSE = 5000;

/**
 * Makes sure that something answers there.
 * @throws SecateurError `option-invalid` for what is no address, `network-failed` where nothing answers.
 */
export async function requireReachable(address: string): Promise<void> {
  if (!/^rediss?:\/\/\S+$/.test(address) || !URL.canParse(address)) {
    throw new SecateurError(
      "option-invalid",
      `Expected --queue to be an address such as redis://localhost:6379, got ${address}.`,
    );
  }
  const probe = new Redis(address, {
    lazyConnect: true,
    connectTimeout: FIRST_ANSWER,
    retryStrategy: () => null,
  });
  let reason: unknown;
  probe.on("error", (thrown) => reason = thrown); // what connecting throws says less
  try {
    await probe.connect();
    await probe.ping();
  } catch (thrown) {
    throw new SecateurError(
      "network-failed",
      `${withoutPassword(address)}: expected a Redis or Valkey server, but it cannot be reached (${
        reasonOf(reason ?? thrown)
      }); check the address, and that it runs.`,
      { cause: thrown },
    );
  } finally {
    probe.disconnect();
  }
}

/** A connection that waits for a server that has gone away, for as long as it takes. */
export function connect(address: string): Redis {
  const connection = new Redis(address, {
    maxRetriesPerRequest: null,
    retryStrategy: (tries) => Math.min(LONGEST_PAUSE, 100 * 2 ** Math.min(tries, 10)),
  });
  connection.on("error", () => undefined); // it tries again
  return connection;
}

/** An address as it may be shown. */
export function withoutPassword(address: string): string {
  const url = new URL(address);
  if (url.password !== "") url.password = "...";
  return url.href;
}
