/** What a pickle may evaluate to: plain data, and objects that an allow-list hands out. */

/** A Python tuple. */
export class PyTuple {
  readonly items: readonly PyValue[];
  constructor(items: readonly PyValue[]) {
    this.items = items;
  }
}

/** A Python list or set, kept in the order written. */
export class PyList {
  readonly items: PyValue[] = [];
}

/** A Python dict or a kind of it. Keys that are containers are told apart by identity. */
export class PyDict {
  readonly entries = new Map<PyValue, PyValue>();
}

/** Anything an allow-list resolves a name to, or makes of a call. */
export abstract class PyObject {
  /** Its name in Python, for the sentences of errors. */
  abstract readonly name: string;
}

/** A name that may be called: `call` is a function of this program, not of the pickle. */
export class PyCallable extends PyObject {
  readonly name: string;
  /** `spend` must be told of work that is more than a constant for the call; it may throw. */
  readonly call: (args: readonly PyValue[], spend: (steps: number) => void) => PyValue;

  constructor(name: string, call: PyCallable["call"]) {
    super();
    this.name = name;
    this.call = call;
  }
}

/** A name that stands for itself, such as torch.float32. */
export class PyConstant extends PyObject {
  readonly name: string;
  constructor(name: string) {
    super();
    this.name = name;
  }
}

export type PyValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PyTuple
  | PyList
  | PyDict
  | PyObject;

/** What Python would call the type of a value, for the sentences of errors. */
export function typeName(value: PyValue): string {
  if (value === null) return "None";
  if (value instanceof PyTuple) return "tuple";
  if (value instanceof PyList) return "list";
  if (value instanceof PyDict) return "dict";
  if (value instanceof Uint8Array) return "bytes";
  if (value instanceof PyObject) return value.name;
  switch (typeof value) {
    case "boolean":
      return "bool";
    case "string":
      return "str";
    case "bigint":
      return "int";
    default:
      return Number.isInteger(value) ? "int" : "float";
  }
}
