/** The form of the file that a model came from, in the metadata of secateur's own files. */

import { z } from "zod";
import { SecateurError } from "../../errors.ts";
import type { FileForm } from "./file_form.ts";
import { FINAL_OPERATORS } from "./final_activation.ts";
import { storedTail, tailFromJson, tailToJson } from "./tail/tail.ts";

/** Under which it is kept. */
export const FORM_KEY = "secateur.form";

const name = z.string().min(1).max(256);
const stored = z.strictObject({
  activation: z.strictObject({ op: z.enum(FINAL_OPERATORS), node: name, output: name }).optional(),
  inputLast: z.boolean().optional(),
  outputLast: z.boolean().optional(),
  input: z.enum(["f16", "u8"]).optional(),
  output: z.enum(["f16"]).optional(),
  half: z.boolean().optional(),
  tail: storedTail.optional(),
});

/** Metadata that keeps a file's form; none for the plain one. */
export function formMetadata(form: FileForm | undefined): Record<string, string> {
  if (form === undefined || Object.keys(form).length === 0) return {};
  const { tail, ...rest } = form;
  return {
    [FORM_KEY]: JSON.stringify(
      tail === undefined ? rest : { ...rest, tail: tailToJson(tail) },
    ),
  };
}

/**
 * The form in a model's metadata; plain where there is none.
 * @throws SecateurError `format-corrupt`; `source` names the file.
 */
export function storedForm(text: string | undefined, source: string): FileForm {
  if (text === undefined) return {};
  try {
    const { tail, ...form } = stored.parse(JSON.parse(text));
    return tail === undefined ? form : { ...form, tail: tailFromJson(tail) };
  } catch (cause) {
    throw new SecateurError(
      "format-corrupt",
      `${source}: expected the form of the model's file in its metadata, but found something else; ` +
        `write the model again.`,
      { cause },
    );
  }
}
