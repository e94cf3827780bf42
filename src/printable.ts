/** Text of files and arguments, made fit for terminals and pages. */

/**
 * Characters that steer what shows them: control characters of both sets, line and paragraph
 * separators, and marks, embeddings and isolates of writing direction, which make text read
 * otherwise than it is.
 */
// deno-lint-ignore no-control-regex
const STEERING = /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** The text on one line, with characters that steer as `\u001b`: what it is, and nothing it does. */
export function printable(text: string): string {
  return text.replace(
    STEERING,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** JSON of a value on one line; JSON leaves alone what steers beyond ASCII, which this escapes too. */
export function printableJson(value: unknown): string {
  return printable(JSON.stringify(value));
}
