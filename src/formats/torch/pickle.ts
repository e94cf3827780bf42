/**
 * A pickle reader that executes nothing. Pickles are programs for a stack machine; this one builds
 * plain data, and resolves the names a pickle asks for only through an allow-list of functions of
 * this program. Instructions: CPython's Lib/pickletools.py, protocols 2 to 5.
 */

import { SecateurError } from "../../errors.ts";
import { type ByteReader, corrupt, quoted } from "../bytes.ts";
import { PyInert } from "./inert.ts";
import { PyCallable, PyDict, PyList, PyTuple, type PyValue, typeName } from "./pickle_values.ts";

/** What names and references in a pickle stand for; everything not known here is refused. */
export interface PickleContext {
  /** The meaning of `module.name`, undefined when it is not allowed. */
  resolve(qualifiedName: string): PyValue | undefined;
  /** The object a persistent reference stands for, undefined when it is not allowed. */
  load(reference: PyValue): PyValue | undefined;
}

/** A context that allows plain data only. */
export const PLAIN_DATA: PickleContext = { resolve: () => undefined, load: () => undefined };

/**
 * Bounds time and memory whatever the pickle says: an instruction of one byte may make an object
 * of some 200. A state dict takes about 30 instructions a tensor.
 */
const MOST_STEPS = 1_000_000;
const LONGEST_INTEGER_BYTES = 256;

/**
 * Evaluates the pickle at the reader's position and leaves the reader behind its end.
 * @throws SecateurError `format-unsafe` when it asks for anything outside the context;
 * `format-corrupt` when it is malformed or too large.
 */
export function unpickle(reader: ByteReader, context: PickleContext): PyValue {
  const machine = new Machine(reader, context);
  for (;;) {
    machine.spend(1);
    const opcode = reader.uint8("a pickle");
    if (opcode === STOP) return machine.pop();
    const instruction = INSTRUCTIONS.get(opcode);
    if (!instruction) throw refusedInstruction(reader, opcode);
    instruction(machine);
  }
}

class Machine {
  readonly reader: ByteReader;
  readonly #context: PickleContext;
  readonly #stack: PyValue[] = [];
  /** Heights of the stack where marks were set; nothing below the last one may be popped. */
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, PyValue>();
  #steps = 0;

  constructor(reader: ByteReader, context: PickleContext) {
    this.reader = reader;
    this.#context = context;
  }

  spend(steps: number): void {
    this.#steps += steps;
    if (this.#steps > MOST_STEPS) {
      throw new SecateurError(
        "format-corrupt",
        `${this.reader.source}: expected a pickle of at most ${MOST_STEPS} instructions, but this ` +
          "one is longer; save only the weights: torch.save(model.state_dict(), path).",
      );
    }
  }

  push(value: PyValue): void {
    this.#stack.push(value);
  }

  pop(): PyValue {
    const value = this.top();
    this.#stack.pop();
    return value;
  }

  top(): PyValue {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0)) {
      throw this.malformed("takes a value from an empty stack");
    }
    return this.#stack[this.#stack.length - 1];
  }

  mark(): void {
    this.#marks.push(this.#stack.length);
  }

  popToMark(): PyValue[] {
    const height = this.#marks.pop();
    if (height === undefined) throw this.malformed("refers to a mark that was not set");
    return this.#stack.splice(height);
  }

  /** POP drops a mark that lies on top of the stack, like any value. */
  drop(): void {
    if (this.#marks.length > 0 && this.#marks.at(-1) === this.#stack.length) this.#marks.pop();
    else this.pop();
  }

  remember(key: number): void {
    this.#memo.set(key, this.top());
  }

  rememberNext(): void {
    this.remember(this.#memo.size);
  }

  recall(key: number): void {
    const value = this.#memo.get(key);
    if (value === undefined) throw this.malformed(`refers to value ${key}, which was not stored`);
    this.push(value);
  }

  pushGlobal(module: PyValue, name: PyValue): void {
    if (typeof module !== "string" || typeof name !== "string") {
      throw this.malformed("names a global by something that is not text");
    }
    const qualified = `${module}.${name}`;
    const value = this.#context.resolve(qualified);
    if (value === undefined) throw this.unsafe(quoted(qualified));
    this.push(value);
  }

  pushPersistent(reference: PyValue): void {
    const value = this.#context.load(reference);
    if (value === undefined) throw this.unsafe("an external object that is not a tensor storage");
    this.push(value);
  }

  /** REDUCE and NEWOBJ. */
  call(): void {
    const args = this.pop();
    const callee = this.pop();
    if (!(callee instanceof PyCallable)) throw this.unsafe(`a call of a ${typeName(callee)}`);
    if (!(args instanceof PyTuple)) throw this.malformed("calls with arguments that are no tuple");
    this.push(callee.call(args.items, (steps) => this.spend(steps)));
  }

  /** BUILD sets attributes: those of dicts (the `_metadata` of state dicts) are dropped. */
  build(): void {
    this.pop();
    const target = this.top();
    const passedOver = target instanceof PyDict || target instanceof PyInert;
    if (!passedOver) throw this.unsafe(`attributes of a ${typeName(target)}`);
  }

  append(items: readonly PyValue[]): void {
    const list = this.top();
    if (list instanceof PyInert) return;
    if (!(list instanceof PyList)) throw this.malformed("appends to something that is no list");
    for (const item of items) list.items.push(item);
  }

  setItems(items: readonly PyValue[]): void {
    const dict = this.top();
    if (dict instanceof PyInert) return;
    if (!(dict instanceof PyDict)) throw this.malformed("sets items of something that is no dict");
    if (items.length % 2 !== 0) throw this.malformed("sets a key without a value");
    for (let i = 0; i < items.length; i += 2) dict.entries.set(items[i], items[i + 1]);
  }

  pushTuple(length: number): void {
    const items: PyValue[] = [];
    for (let i = 0; i < length; i++) items.unshift(this.pop());
    this.push(new PyTuple(items));
  }

  /** Python 2's byte strings count as text too, as in torch.load. */
  pushText(length: number): void {
    this.push(new TextDecoder().decode(this.reader.take(length, "a string")));
  }

  pushBytes(length: number): void {
    this.push(this.reader.take(length, "a byte string"));
  }

  /** A little-endian two's-complement integer of any length. */
  pushInteger(length: number): void {
    if (length > LONGEST_INTEGER_BYTES) {
      throw this.malformed(`has an integer of ${length} bytes (${LONGEST_INTEGER_BYTES} at most)`);
    }
    let value = 0n;
    const bytes = this.reader.take(length, "an integer");
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]);
    value = BigInt.asIntN(8 * length, value);
    const small = Number(value);
    this.push(Number.isSafeInteger(small) ? small : value);
  }

  malformed(finding: string): SecateurError {
    return corrupt(
      this.reader.source,
      `its pickle ${finding} (before byte ${this.reader.position})`,
    );
  }

  unsafe(asked: string): SecateurError {
    return unsafePickle(this.reader.source, asked);
  }
}

/** The error for a pickle that asks for more than tensors in plain containers. */
export function unsafePickle(source: string, asked: string): SecateurError {
  return new SecateurError(
    "format-unsafe",
    `${source}: expected nothing but tensors in plain containers, but its pickle asks for ` +
      `${asked}, which could run code and was not executed; in PyTorch, save only the weights: ` +
      "torch.save(model.state_dict(), path).",
  );
}

function refusedInstruction(reader: ByteReader, opcode: number): SecateurError {
  const name = UNSAFE_INSTRUCTIONS.get(opcode);
  if (name) return unsafePickle(reader.source, `the instruction ${name}`);
  const code = opcode.toString(16).padStart(2, "0");
  return corrupt(
    reader.source,
    `its pickle has the unknown instruction 0x${code} at byte ${reader.position - 1}`,
  );
}

function setDict(m: Machine, items: readonly PyValue[]): void {
  m.push(new PyDict());
  m.setItems(items);
}

function setList(m: Machine, items: readonly PyValue[]): void {
  m.push(new PyList());
  m.append(items);
}

const STOP = 0x2e;

const LITERALS: [number, (m: Machine) => void][] = [
  [0x4e, (m) => m.push(null)], // NONE
  [0x88, (m) => m.push(true)], // NEWTRUE
  [0x89, (m) => m.push(false)], // NEWFALSE
  [0x4a, (m) => m.push(m.reader.int32("an integer"))], // BININT
  [0x4b, (m) => m.push(m.reader.uint8("an integer"))], // BININT1
  [0x4d, (m) => m.push(m.reader.uint16("an integer"))], // BININT2
  [0x8a, (m) => m.pushInteger(m.reader.uint8("a length"))], // LONG1
  [0x8b, (m) => m.pushInteger(m.reader.uint32("a length"))], // LONG4
  [0x47, (m) => m.push(m.reader.float64BigEndian("a float"))], // BINFLOAT
  [0x54, (m) => m.pushText(m.reader.uint32("a length"))], // BINSTRING
  [0x55, (m) => m.pushText(m.reader.uint8("a length"))], // SHORT_BINSTRING
  [0x58, (m) => m.pushText(m.reader.uint32("a length"))], // BINUNICODE
  [0x8c, (m) => m.pushText(m.reader.uint8("a length"))], // SHORT_BINUNICODE
  [0x8d, (m) => m.pushText(m.reader.uint64("a length"))], // BINUNICODE8
  [0x42, (m) => m.pushBytes(m.reader.uint32("a length"))], // BINBYTES
  [0x43, (m) => m.pushBytes(m.reader.uint8("a length"))], // SHORT_BINBYTES
  [0x8e, (m) => m.pushBytes(m.reader.uint64("a length"))], // BINBYTES8
];

const CONTAINERS: [number, (m: Machine) => void][] = [
  [0x5d, (m) => m.push(new PyList())], // EMPTY_LIST
  [0x6c, (m) => setList(m, m.popToMark())], // LIST
  [0x61, (m) => {
    const item = m.pop();
    m.append([item]);
  }], // APPEND
  [0x65, (m) => m.append(m.popToMark())], // APPENDS
  [0x7d, (m) => m.push(new PyDict())], // EMPTY_DICT
  [0x64, (m) => setDict(m, m.popToMark())], // DICT
  [0x73, (m) => {
    const value = m.pop();
    const key = m.pop();
    m.setItems([key, value]);
  }], // SETITEM
  [0x75, (m) => m.setItems(m.popToMark())], // SETITEMS
  [0x8f, (m) => m.push(new PyList())], // EMPTY_SET
  [0x90, (m) => m.append(m.popToMark())], // ADDITEMS
  [0x91, (m) => setList(m, m.popToMark())], // FROZENSET
  [0x29, (m) => m.pushTuple(0)], // EMPTY_TUPLE
  [0x85, (m) => m.pushTuple(1)], // TUPLE1
  [0x86, (m) => m.pushTuple(2)], // TUPLE2
  [0x87, (m) => m.pushTuple(3)], // TUPLE3
  [0x74, (m) => m.push(new PyTuple(m.popToMark()))], // TUPLE
];

const CONTROL: [number, (m: Machine) => void][] = [
  [0x80, (m) => {
    const protocol = m.reader.uint8("a protocol");
    if (protocol > 5) throw m.malformed(`claims protocol ${protocol} (5 is the highest known)`);
  }], // PROTO
  [0x95, (m) => void m.reader.uint64("a frame")], // FRAME: a hint for buffered reading
  [0x28, (m) => m.mark()], // MARK
  [0x30, (m) => m.drop()], // POP
  [0x31, (m) => void m.popToMark()], // POP_MARK
  [0x32, (m) => m.push(m.top())], // DUP
  [0x71, (m) => m.remember(m.reader.uint8("an index"))], // BINPUT
  [0x72, (m) => m.remember(m.reader.uint32("an index"))], // LONG_BINPUT
  [0x94, (m) => m.rememberNext()], // MEMOIZE
  [0x68, (m) => m.recall(m.reader.uint8("an index"))], // BINGET
  [0x6a, (m) => m.recall(m.reader.uint32("an index"))], // LONG_BINGET
  [0x63, (m) => {
    const module = m.reader.line("the module of a global");
    m.pushGlobal(module, m.reader.line("the name of a global"));
  }], // GLOBAL
  [0x93, (m) => {
    const name = m.pop();
    m.pushGlobal(m.pop(), name);
  }], // STACK_GLOBAL
  [0x69, (m) => {
    const module = m.reader.line("the module of a class");
    throw m.unsafe(quoted(`${module}.${m.reader.line("the name of a class")}`));
  }], // INST
  [0x52, (m) => m.call()], // REDUCE
  [0x81, (m) => m.call()], // NEWOBJ
  [0x62, (m) => m.build()], // BUILD
  [0x51, (m) => m.pushPersistent(m.pop())], // BINPERSID
];

const INSTRUCTIONS: ReadonlyMap<number, (m: Machine) => void> = new Map([
  ...LITERALS,
  ...CONTAINERS,
  ...CONTROL,
]);

/** Known instructions that make arbitrary objects and that no state dict needs. */
const UNSAFE_INSTRUCTIONS = new Map([
  [0x6f, "OBJ"],
  [0x92, "NEWOBJ_EX"],
  [0x82, "EXT1"],
  [0x83, "EXT2"],
  [0x84, "EXT4"],
  [0x50, "PERSID"],
  [0x97, "NEXT_BUFFER"],
  [0x98, "READONLY_BUFFER"],
  [0x96, "BYTEARRAY8"],
]);
