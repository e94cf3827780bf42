/** The pictures that a model takes: their type, their extents and where their channels lie. */

import { SecateurError } from "../../../errors.ts";
import type { Shape } from "../../../graph/graph.ts";
import { quoted } from "../../bytes.ts";
import type { FileForm } from "../file_form.ts";
import { dtypeOf, type HostArray } from "../read/array.ts";
import type { OnnxModel, OnnxValue } from "../read/reader.ts";
import { OPEN_BATCH } from "./importer.ts";

export interface ImportOptions {
  /** [channels, height, width] of one image, for models that leave them open. */
  readonly shape?: Shape;
  /** The same where neither the model nor `shape` says. */
  readonly usualShape?: Shape;
  /** Inputs of the model to treat as constants. */
  readonly constants?: ReadonlyMap<string, HostArray>;
}

/** A model's pictures as its file has them. */
export interface ModelInput {
  readonly input: OnnxValue;
  /** As in the file; channels are its last axis if inputLast. */
  readonly shape: readonly number[];
  readonly inputLast: boolean;
  readonly batch: number | string;
}

/** What leaves the axes of pictures as they are, before they are turned. */
const KEEPING_AXES = new Set(["Add", "Cast", "Div", "Identity", "Mul", "Sub"]);

/** Whether a model takes [batch, height, width, channels]: it turns its pictures at once. */
function takesChannelsLast(
  { nodes }: OnnxModel,
  input: string,
  extents: readonly (number | string)[],
): boolean {
  if (extents.length !== 4) return false;
  const open = [input], seen = new Set(open);
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    for (const node of nodes) {
      if (!node.inputs.includes(name)) continue;
      const axes = node.op === "Transpose" && node.attributes.has("perm")
        ? node.attributes.ints("perm").join()
        : "";
      if (axes === "0,3,1,2") return true;
      // Of one channel, some exporters reshape: [batch, height, width, 1] to [batch, 1, height, width].
      if (node.op === "Reshape" && extents[3] === 1 && extents[1] !== 1) return true;
      const [next] = node.outputs;
      if (!KEEPING_AXES.has(node.op) || seen.has(next)) continue;
      seen.add(next);
      open.push(next);
    }
  }
  return false;
}

const isPicture = ({ elementType, shape }: OnnxValue): boolean => {
  const type = dtypeOf(elementType);
  return shape?.length === 4 && (type === "f32" || type === "f16" || type === "u8");
};

/** The model's one input of pictures with its extents; the batch is OPEN_BATCH where it is left open. */
export function inputOf(model: OnnxModel, options: ImportOptions): ModelInput {
  const given = model.inputs.filter(({ name }) => !options.constants?.has(name));
  // Beside pictures, files take sizes and scales, which what lies behind the body reads.
  const pictures = given.filter(isPicture);
  const inputs = pictures.length === 1 ? pictures : given;
  const refuse = (finding: string, todo: string) =>
    new SecateurError("graph-unsupported", `${model.source}: ${finding}; ${todo}.`);
  if (inputs.length !== 1) {
    throw refuse(
      `expected a model with one input of pictures, but it has ${inputs.length}${
        pictures.length === 0 ? ", none of which is one" : ""
      }`,
      "export it with the pictures alone",
    );
  }
  const [input] = inputs;
  const extents = input.shape ?? [];
  const type = dtypeOf(input.elementType);
  const known = type === "f32" || type === "f16" || type === "u8";
  if (!known || (extents.length !== 2 && extents.length !== 4)) {
    throw refuse(
      `expected the input ${quoted(input.name)} to be f32, f16 or u8 [batch, channels, height, ` +
        `width] or [batch, features], but it has ${extents.length} axes of element type ` +
        `${input.elementType}`,
      "export the model with such an input",
    );
  }
  const [batch, ...image] = extents;
  const inputLast = takesChannelsLast(model, input.name, extents);
  const laidOut = (given: Shape | undefined) =>
    given?.length !== image.length ? undefined : inputLast ? [...given.slice(1), given[0]] : given;
  const asked = laidOut(options.shape), usual = laidOut(options.usualShape);
  const shape = image.map((extent, axis) =>
    typeof extent === "number" && extent > 0 ? extent : asked?.[axis] ?? usual?.[axis] ?? extent
  );
  const other = asked !== undefined && shape.some((extent, axis) => extent !== asked[axis]);
  if (other) {
    throw refuse(
      `its input ${quoted(input.name)} is ${quoted(shape.join("x"))}, not ${
        asked.join("x")
      } as asked`,
      "leave the shape out, or give it for extents that the model leaves open",
    );
  }
  const open = shape.find((extent): extent is string => typeof extent === "string");
  if (open !== undefined || shape.some((extent) => extent === 0)) {
    throw refuse(
      `expected the input ${quoted(input.name)} to have fixed extents behind the batch, but it ` +
        `leaves ${quoted(String(open ?? 0))} open`,
      "give the size of the pictures with --input-shape CHANNELSxHEIGHTxWIDTH, such as 3x224x224",
    );
  }
  const images = typeof batch === "number" && batch > 0 ? batch : OPEN_BATCH;
  return {
    input,
    inputLast,
    shape: [images, ...shape as number[]],
    batch: images === OPEN_BATCH ? String(batch) || "N" : images,
  };
}

/** The types of a file's input, output and weights, where they are not f32. */
export function formOf({ outputs }: OnnxModel, input: OnnxValue, half: boolean): FileForm {
  const type = dtypeOf(input.elementType);
  const [output, ...others] = outputs;
  return {
    ...(type === "f16" || type === "u8" ? { input: type } : {}),
    ...(others.length === 0 && dtypeOf(output.elementType) === "f16" ? { output: "f16" } : {}),
    ...(half || type === "f16" ? { half: true } : {}),
  };
}
