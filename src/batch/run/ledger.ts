/**
 * What became of a batch's jobs, in an SQLite file: every change is on the disk before the next step is
 * taken, so that a batch that was killed goes on where it was. One process writes to it at a time.
 */

import { DatabaseSync, type StatementSync } from "node:sqlite";
import { SecateurError } from "../../errors.ts";
import { reasonOf } from "../../errors.ts";

export type JobState = "waiting" | "running" | "done" | "failed";

/** What a finished job found, for tables. */
export interface JobOutcome {
  /** Shares of the original: MACs and parameters that are left. */
  readonly macs: number;
  readonly parameters: number;
  /** Accuracy of the written model, on test pictures. */
  readonly top1: number;
  /** Bytes of memory that the job's process held. */
  readonly memory?: number;
}

export interface LedgerRow {
  /** Digest of all that decides the job's result. */
  readonly digest: string;
  readonly name: string;
  /** Below the batch's folder. */
  readonly folder: string;
  readonly state: JobState;
  /** How often it was begun. */
  readonly attempts: number;
  /** Seconds that it ran, of all attempts that ended. */
  readonly seconds: number;
  readonly outcome?: JobOutcome;
  readonly error?: string;
}

const SCHEMA = `
  create table if not exists job (
    digest text primary key,
    name text not null,
    folder text not null unique,
    state text not null check (state in ('waiting', 'running', 'done', 'failed')),
    attempts integer not null default 0,
    seconds real not null default 0,
    outcome text,
    error text
  ) strict;
`;

/** A job to enter. */
export interface Entry {
  readonly digest: string;
  readonly name: string;
}

export class Ledger implements Disposable {
  readonly #database: DatabaseSync;
  readonly #rows: StatementSync;

  private constructor(database: DatabaseSync) {
    this.#database = database;
    this.#rows = database.prepare("select * from job where digest = ?");
  }

  /** Opens a file, made when absent. Throws "format-corrupt" for one that is no ledger. */
  static open(path: string): Ledger {
    try {
      const database = new DatabaseSync(path);
      // A rollback journal needs no other file once it is closed, and survives any kill.
      database.exec("pragma journal_mode = delete; pragma synchronous = full;");
      database.exec(SCHEMA);
      return new Ledger(database);
    } catch (thrown) {
      throw new SecateurError(
        "format-corrupt",
        `${path}: expected the ledger of a batch, but it cannot be read (${
          reasonOf(thrown)
        }); remove it to start anew, or choose another --out.`,
        { cause: thrown },
      );
    }
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }

  /** Enters jobs that are not known, and lets those that a killed batch left running wait again. */
  enter(entries: readonly Entry[]): void {
    this.#transaction(() => {
      this.#database.exec("update job set state = 'waiting' where state = 'running'");
      const known = this.#database.prepare("select 1 from job where digest = ?");
      const taken = this.#database.prepare("select 1 from job where folder = ?");
      const insert = this.#database.prepare(
        "insert into job (digest, name, folder, state) values (?, ?, ?, 'waiting')",
      );
      const rename = this.#database.prepare("update job set name = ? where digest = ?");
      for (const { digest, name } of entries) {
        if (known.get(digest) !== undefined) {
          rename.run(name, digest);
          continue;
        }
        // A job of this name that was another stays where it is.
        const folder = taken.get(name) === undefined ? name : `${name}-${digest.slice(0, 8)}`;
        insert.run(digest, name, folder);
      }
    });
  }

  row(digest: string): LedgerRow | undefined {
    const found = this.#rows.get(digest);
    return found && rowOf(found);
  }

  /** Lets a job wait again: one that failed, or whose files are gone. */
  renew(digest: string): void {
    this.#database.prepare("update job set state = 'waiting', error = null where digest = ?")
      .run(digest);
  }

  begin(digest: string): void {
    this.#database.prepare(
      "update job set state = 'running', attempts = attempts + 1, error = null where digest = ?",
    ).run(digest);
  }

  /** It was stopped before its end. */
  stop(digest: string, seconds: number): void {
    this.#database.prepare(
      "update job set state = 'waiting', seconds = seconds + ? where digest = ?",
    ).run(seconds, digest);
  }

  finish(digest: string, seconds: number, outcome: JobOutcome): void {
    this.#database.prepare(
      "update job set state = 'done', seconds = seconds + ?, outcome = ?, error = null where digest = ?",
    ).run(seconds, JSON.stringify(outcome), digest);
  }

  fail(digest: string, seconds: number, error: string): void {
    this.#database.prepare(
      "update job set state = 'failed', seconds = seconds + ?, error = ? where digest = ?",
    ).run(seconds, error, digest);
  }

  #transaction(work: () => void): void {
    this.#database.exec("begin immediate");
    try {
      work();
      this.#database.exec("commit");
    } catch (thrown) {
      this.#database.exec("rollback");
      throw thrown;
    }
  }
}

function rowOf(found: Record<string, unknown>): LedgerRow {
  const { digest, name, folder, state, attempts, seconds, outcome, error } = found;
  return {
    digest: String(digest),
    name: String(name),
    folder: String(folder),
    state: state as JobState,
    attempts: Number(attempts),
    seconds: Number(seconds),
    ...(outcome === null ? {} : { outcome: JSON.parse(String(outcome)) as JobOutcome }),
    ...(error === null ? {} : { error: String(error) }),
  };
}
