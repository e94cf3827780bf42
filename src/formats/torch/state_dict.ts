/** Finding the weights in what a checkpoint holds. */

import { SecateurError } from "../../errors.ts";
import { quoted } from "../bytes.ts";
import { PyDict, type PyValue, typeName } from "./pickle_values.ts";
import { TorchTensor } from "./objects.ts";

/** Keys under which training scripts keep the state dict among epochs and optimizers. */
const WRAPPERS = ["state_dict", "model_state_dict", "model_state", "model", "net", "network"];
const DEEPEST_WRAPPER = 4;
const PARALLEL_PREFIX = "module.";

/**
 * The named tensors of a checkpoint: the value itself, or the one under a customary key such as
 * `state_dict`; what is no tensor in it is left out. A `module.` prefix common to all names, which
 * torch.nn.DataParallel adds, is stripped.
 * @throws SecateurError `format-unknown` when there are none.
 */
export function findStateDict(saved: PyValue, source: string): Map<string, TorchTensor> {
  let level = saved;
  for (let depth = 0; depth < DEEPEST_WRAPPER && level instanceof PyDict; depth++) {
    const inner = unwrap(level);
    if (inner) level = inner;
    else break;
  }
  const tensors = level instanceof PyDict ? namedTensors(level) : new Map<string, TorchTensor>();
  if (tensors.size > 0) return withoutPrefix(tensors, PARALLEL_PREFIX);
  throw new SecateurError(
    "format-unknown",
    `${source}: expected a dict of named tensors, alone or under one of ${WRAPPERS.join(", ")}, ` +
      `but found ${describe(saved)}; save the weights with torch.save(model.state_dict(), path).`,
  );
}

function unwrap(dict: PyDict): PyDict | undefined {
  for (const key of WRAPPERS) {
    const value = dict.entries.get(key);
    if (value instanceof PyDict && value.entries.size > 0) return value;
  }
  return undefined;
}

function namedTensors(dict: PyDict): Map<string, TorchTensor> {
  const tensors = new Map<string, TorchTensor>();
  for (const [name, value] of dict.entries) {
    if (typeof name === "string" && value instanceof TorchTensor) tensors.set(name, value);
  }
  return tensors;
}

/** The map with the prefix removed from every name, or unchanged when a name lacks it. */
export function withoutPrefix<T>(map: Map<string, T>, prefix: string): Map<string, T> {
  const names = [...map.keys()];
  if (names.length === 0 || !names.every((name) => name.startsWith(prefix))) return map;
  return new Map([...map].map(([name, value]) => [name.slice(prefix.length), value]));
}

function describe(saved: PyValue): string {
  if (!(saved instanceof PyDict)) return `a ${typeName(saved)}`;
  const keys = [...saved.entries.keys()].slice(0, 5);
  const shown = keys.map((key) => (typeof key === "string" ? quoted(key) : typeName(key)));
  return `a dict of ${saved.entries.size} entries (${shown.join(", ")})`;
}
