/** The network that another one learns from. */

import { described, type InputContract } from "../../data/contract.ts";
import type { PictureSet } from "../../data/dataset.ts";
import { SecateurError } from "../../errors.ts";
import { requireFit } from "../../training/evaluate.ts";
import type { Distillation } from "../../training/options.ts";
import type { Console } from "../terminal/console.ts";
import { fitOf, graphOf, type ModelSource, readSource } from "./model.ts";

export interface TeacherValues {
  readonly teacher?: string | undefined;
  readonly teacherModel?: string | undefined;
  readonly distill?: number | undefined;
  readonly temperature: number;
}

/** Share of the loss that is a teacher's where nothing else is asked for. */
const SHARE = 0.9;

/** The same refusal with the options that name a teacher. */
function ofTeacher(thrown: unknown): unknown {
  if (!(thrown instanceof SecateurError)) return thrown;
  const message = thrown.message
    .replaceAll(/--model\b/g, "--teacher-model")
    .replaceAll(/--weights\b/g, "--teacher");
  return new SecateurError(thrown.code, message, { cause: thrown });
}

/**
 * Reads what --teacher names; undefined without it.
 * @throws SecateurError `option-invalid` for options of a teacher that is not given, and what
 * `readSource` throws.
 */
export async function readTeacher(
  { teacher, teacherModel, distill }: TeacherValues,
  console: Pick<Console, "text">,
): Promise<ModelSource | undefined> {
  if (teacher !== undefined) {
    try {
      return await readSource({ model: teacherModel, weights: teacher }, console);
    } catch (thrown) {
      throw ofTeacher(thrown);
    }
  }
  const lonely = teacherModel !== undefined ? "--teacher-model" : "--distill";
  if (teacherModel === undefined && (distill ?? 0) === 0) return undefined;
  throw new SecateurError(
    "option-invalid",
    `Expected --teacher beside ${lonely}: name the file of the network to learn from.`,
  );
}

/** Throws "data-mismatch" where the teacher takes colours otherwise than the student will. */
function requireSamePreparation({ source, contract }: ModelSource, own: InputContract): void {
  if (contract === undefined) return;
  const colours = ({ mean, std, channels }: InputContract) => described({ mean, std, channels });
  if (colours(contract) === colours(own)) return;
  throw new SecateurError(
    "data-mismatch",
    `The teacher ${source} was made for pictures prepared so: ${
      colours(contract)
    }; those here are ` +
      `prepared so: ${
        colours(own)
      }. Give --mean, --std and --channels as it takes them, or choose ` +
      `another teacher.`,
  );
}

/**
 * Distillation from the teacher, which sees the pictures as the student does.
 * @throws SecateurError `data-mismatch` where it takes other pictures or knows other classes.
 */
export function distillationOf(
  source: ModelSource,
  { distill = SHARE, temperature }: TeacherValues,
  pictures: PictureSet,
  contract: InputContract,
): Distillation | undefined {
  if (distill === 0) return undefined;
  requireSamePreparation(source, contract);
  let teacher;
  try {
    teacher = graphOf(source, fitOf(pictures, contract));
  } catch (thrown) {
    throw ofTeacher(thrown);
  }
  requireFit(teacher, pictures, contract);
  return { teacher, share: distill, temperature };
}
