/** The Python names a PyTorch checkpoint of tensors needs, and what they stand for here. */

import { corrupt, quoted } from "../bytes.ts";
import type { DType } from "../dtype.ts";
import { inertObject } from "./inert.ts";
import type { PickleContext } from "./pickle.ts";
import {
  PyCallable,
  PyConstant,
  PyDict,
  PyList,
  PyObject,
  PyTuple,
  type PyValue,
  typeName,
} from "./pickle_values.ts";

/** torch.FloatStorage and its kind: an element type. */
class StorageClass extends PyObject {
  readonly name: string;
  readonly dtype: DType;
  constructor(name: string, dtype: DType) {
    super();
    this.name = name;
    this.dtype = dtype;
  }
}

/** A run of elements kept outside the pickle under a key. */
export class TorchStorage extends PyObject {
  readonly name = "torch.Storage";
  readonly key: string;
  readonly dtype: DType;
  /** Elements under the key. */
  readonly total: number;
  /** The part that this storage is: all of it, but for views in files of the legacy form. */
  readonly first: number;
  readonly count: number;

  constructor(key: string, dtype: DType, total: number, first = 0, count = total) {
    super();
    this.key = key;
    this.dtype = dtype;
    this.total = total;
    this.first = first;
    this.count = count;
  }
}

/** A strided view of a storage; every index has been checked to lie in it. */
export class TorchTensor extends PyObject {
  readonly name = "torch.Tensor";
  readonly storage: TorchStorage;
  readonly offset: number;
  readonly shape: number[];
  readonly strides: number[];

  constructor(storage: TorchStorage, offset: number, shape: number[], strides: number[]) {
    super();
    this.storage = storage;
    this.offset = offset;
    this.shape = shape;
    this.strides = strides;
  }
}

const HIGHEST_RANK = 64;

const STORAGES: Readonly<Record<string, DType>> = {
  Double: "f64",
  Float: "f32",
  Half: "f16",
  BFloat16: "bf16",
  Long: "i64",
  Int: "i32",
  Short: "i16",
  Char: "i8",
  Byte: "u8",
  Bool: "bool",
};

const DTYPE_NAMES =
  "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool double float half long int short";

/**
 * The allow-list for one checkpoint. `storages` collects the storages referred to, by key.
 * Everything is a function of this file: nothing the pickle names is ever looked up in the host.
 */
export function torchContext(source: string, storages: Map<string, TorchStorage>): PickleContext {
  const names = new Map<string, PyValue>();
  const add = (value: PyObject) => names.set(value.name, value);
  for (const [prefix, dtype] of Object.entries(STORAGES)) {
    add(new StorageClass(`torch.${prefix}Storage`, dtype));
  }
  for (const dtype of DTYPE_NAMES.split(" ")) add(new PyConstant(`torch.${dtype}`));
  add(new PyCallable("collections.OrderedDict", (args, spend) => makeDict(source, args, spend)));
  add(new PyCallable("collections.Counter", (args, spend) => makeDict(source, args, spend)));
  // defaultdict(factory, items)
  add(
    new PyCallable(
      "collections.defaultdict",
      ([, ...args], spend) => makeDict(source, args, spend),
    ),
  );
  add(new PyCallable("torch.Size", (args) => args[0] ?? new PyTuple([])));
  add(new PyCallable("torch.device", (args) => new PyTuple(args)));
  // _rebuild_tensor(storage, offset, size, stride); v2 adds requires_grad and hooks.
  for (const name of ["torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"]) {
    add(new PyCallable(name, (args) => makeTensor(source, args)));
  }
  // (tensor, requires_grad, hooks[, attributes]): the wrapping and the attributes are dropped.
  for (const suffix of ["", "_with_state"]) {
    add(
      new PyCallable(`torch._utils._rebuild_parameter${suffix}`, ([tensor]) => {
        if (tensor instanceof TorchTensor) return tensor;
        throw corrupt(source, `a parameter is made of a ${typeName(tensor ?? null)}, not a tensor`);
      }),
    );
  }
  return {
    resolve: (name) => names.get(name) ?? inertObject(name),
    load: (reference) => makeStorage(source, reference, storages),
  };
}

/** OrderedDict(), OrderedDict(dict) and OrderedDict([(key, value), ...]). */
function makeDict(
  source: string,
  args: readonly PyValue[],
  spend: (steps: number) => void,
): PyDict {
  const [from] = args;
  const dict = new PyDict();
  if (from instanceof PyDict) {
    spend(from.entries.size);
    for (const [key, value] of from.entries) dict.entries.set(key, value);
  } else if (from instanceof PyList || from instanceof PyTuple) {
    spend(from.items.length);
    for (const pair of from.items) {
      if (!(pair instanceof PyTuple || pair instanceof PyList) || pair.items.length !== 2) {
        throw corrupt(source, "a dict is made of something that is not pairs");
      }
      dict.entries.set(pair.items[0], pair.items[1]);
    }
  } else if (from !== undefined) {
    throw corrupt(source, `a dict is made of a ${typeName(from)}`);
  }
  return dict;
}

function isCount(value: PyValue | undefined): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

/** ("storage", class, key, location, count[, view]); view: None or (key, first, count). */
function makeStorage(
  source: string,
  reference: PyValue,
  storages: Map<string, TorchStorage>,
): TorchStorage | undefined {
  if (!(reference instanceof PyTuple) || reference.items[0] !== "storage") return undefined;
  const [, kind, key, , total, view] = reference.items;
  if (!(kind instanceof StorageClass) || typeof key !== "string" || !isCount(total)) {
    throw corrupt(source, "a tensor storage is described in an unknown way");
  }
  const known = storages.get(key);
  if (known && (known.dtype !== kind.dtype || known.total !== total)) {
    throw corrupt(source, `storage ${quoted(key)} is described in two different ways`);
  }
  if (!known) storages.set(key, new TorchStorage(key, kind.dtype, total));
  if (!(view instanceof PyTuple)) return new TorchStorage(key, kind.dtype, total);
  const [, first, count] = view.items;
  if (!isCount(first) || !isCount(count) || first + count > total) {
    throw corrupt(source, `a view of storage ${quoted(key)} lies outside its ${total} elements`);
  }
  return new TorchStorage(key, kind.dtype, total, first, count);
}

function makeTensor(source: string, args: readonly PyValue[]): TorchTensor {
  const [storage, offset, size, stride] = args;
  if (!(storage instanceof TorchStorage) || !isCount(offset)) {
    throw corrupt(source, "a tensor is made of something that is not a storage and an offset");
  }
  const shape = counts(source, size, "shape");
  const strides = counts(source, stride, "strides");
  if (shape.length !== strides.length) {
    throw corrupt(source, `a tensor of shape [${shape}] has strides [${strides}]`);
  }
  let last = offset;
  let empty = false;
  for (let d = 0; d < shape.length; d++) {
    last += (shape[d] - 1) * strides[d];
    empty ||= shape[d] === 0;
  }
  if (!empty && !(last < storage.count)) {
    throw corrupt(
      source,
      `a tensor of shape [${shape}] and strides [${strides}] at offset ${offset} reaches outside ` +
        `its storage of ${storage.count} elements`,
    );
  }
  return new TorchTensor(storage, offset, shape, strides);
}

function counts(source: string, value: PyValue | undefined, what: string): number[] {
  const items = value instanceof PyTuple || value instanceof PyList ? value.items : undefined;
  if (!items || items.length > HIGHEST_RANK || !items.every(isCount)) {
    throw corrupt(source, `the ${what} of a tensor is not a short tuple of counts`);
  }
  return [...items];
}
