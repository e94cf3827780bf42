/** Finding the weights in what a checkpoint holds. */

import { SecateurError } from "../../errors.ts";
import { quoted } from "../bytes.ts";
import { PyDict, type PyValue, typeName } from "./pickle_values.ts";
import { TorchTensor } from "./objects.ts";

/** Keys under which training scripts keep the state dict among epochs and optimizers. */
const WRAPPERS = [
  ...["state_dict", "model_state_dict", "model_state", "model", "net", "network", "params"],
  "weights",
];
/** Keys under which they keep a moving average of it. */
const AVERAGED = [
  ...["state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "ema"],
  ...["params_ema", "averaged_model", "swa_model", "swa_state_dict", "shadow"],
];
const DEEPEST_WRAPPER = 4;

/** Named tensors of a checkpoint, and what was chosen among others. */
export interface FoundWeights {
  readonly tensors: Map<string, TorchTensor>;
  /** Sentences. */
  readonly said: readonly string[];
}

/**
 * The named tensors of a checkpoint: the value itself, or the one under a customary key such as
 * `state_dict`; what is no tensor in it is left out. Where a moving average of the weights is kept
 * beside them, that is taken, as it is what training scripts report, and said.
 * @throws SecateurError `format-unknown` when there are none.
 */
export function findStateDict(saved: PyValue, source: string): FoundWeights {
  const found = search(saved, 0);
  if (found !== undefined) return found;
  throw new SecateurError(
    "format-unknown",
    `${source}: expected a dict of named tensors, alone or under one of ${WRAPPERS.join(", ")}, ` +
      `but found ${describe(saved)}; save the weights with torch.save(model.state_dict(), path).`,
  );
}

function search(level: PyValue, depth: number): FoundWeights | undefined {
  if (!(level instanceof PyDict)) return undefined;
  const under = (keys: readonly string[]) => {
    if (depth === DEEPEST_WRAPPER) return undefined;
    for (const key of keys) {
      const found = search(level.entries.get(key) ?? null, depth + 1);
      if (found !== undefined) return { key, ...found };
    }
    return undefined;
  };
  const averaged = under(AVERAGED), raw = under(WRAPPERS);
  if (averaged !== undefined) {
    const also = raw === undefined ? "" : `, not the raw ones under ${quoted(raw.key)}`;
    const sentence = `The averaged weights under ${quoted(averaged.key)} are taken${also}.`;
    return { tensors: averaged.tensors, said: [sentence, ...averaged.said] };
  }
  if (raw !== undefined) return { tensors: raw.tensors, said: raw.said };
  const tensors = namedTensors(level);
  return tensors.size > 0 ? { tensors, said: [] } : undefined;
}

function namedTensors(dict: PyDict): Map<string, TorchTensor> {
  const tensors = new Map<string, TorchTensor>();
  for (const [name, value] of dict.entries) {
    if (typeof name === "string" && value instanceof TorchTensor) tensors.set(name, value);
  }
  return tensors;
}

function describe(saved: PyValue): string {
  if (!(saved instanceof PyDict)) return `a ${typeName(saved)}`;
  const keys = [...saved.entries.keys()].slice(0, 5);
  const shown = keys.map((key) => (typeof key === "string" ? quoted(key) : typeName(key)));
  return `a dict of ${saved.entries.size} entries (${shown.join(", ")})`;
}
