/** Damage to PyTorch checkpoints: pickle instructions, and zip archives whose checksums still fit. */

import { crc32 } from "../../../src/formats/torch/zip.ts";
import type { RandomStream } from "../../../src/random.ts";
import { changeBytes, edge, join, pick } from "./byte_changes.ts";

function integer(value: bigint | number, size: 2 | 4 | 8): Uint8Array {
  const out = new Uint8Array(8);
  new DataView(out.buffer).setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
  return out.subarray(0, size);
}

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Every instruction of protocols 0 to 5, by its letter. */
const OPCODES = Uint8Array.from([
  ...ascii("(.012FIJKLMNPQRSTUVXabcd}eghijl]oprqstu)GB"),
  ...[0x42, 0x43, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8c],
  ...[0x8d, 0x8e, 0x8f, 0x90, 0x91, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98],
]);

const GLOBALS = [
  ...["collections\nOrderedDict", "collections\nCounter", "torch\nSize", "torch\nFloatStorage"],
  ...["torch\nLongStorage", "torch._utils\n_rebuild_tensor_v2", "torch._utils\n_rebuild_parameter"],
  ...["torch\nfloat32", "torch\ndevice", "builtins\neval", "__builtin__\nobject"],
];

/** One valid instruction, or a short run of them. */
function instruction(random: RandomStream): Uint8Array {
  switch (random.integer(9)) {
    case 0:
      return ascii(`c${pick(GLOBALS, random)}\n`);
    case 1:
      return join(ascii("J"), integer(edge(random), 4));
    case 2:
      return join(Uint8Array.of(0x8a, 8), integer(edge(random), 8));
    case 3:
      return Uint8Array.of(pick([0x71, 0x68, 0x4b], random), random.integer(20));
    case 4:
      return join(ascii("X"), integer(edge(random), 4));
    case 5:
      return join(Uint8Array.of(pick([0x8d, 0x8e, 0x95, 0x96], random)), integer(edge(random), 8));
    case 6:
      return ascii(")R");
    case 7:
      return ascii(pick(["(t", "]", "}", "(l", "(d", ")", "N", "K\x02\x85", "N\x88\x86"], random));
    default:
      return Uint8Array.of(pick([...OPCODES], random));
  }
}

/** A pickle with one to four instructions put in, exchanged or lost, or with other damage. */
export function changePickle(
  bytes: Uint8Array,
  random: RandomStream,
  other: Uint8Array,
): Uint8Array {
  if (random.integer(3) === 0) return changeBytes(bytes, random, other);
  let changed = bytes;
  for (let k = random.integer(4); k >= 0; k--) {
    const at = random.integer(changed.length + 1);
    const gone = random.integer(4);
    const put = random.integer(5) === 0 ? new Uint8Array(0) : instruction(random);
    changed = join(changed.subarray(0, at), put, changed.subarray(at + gone));
  }
  return changed;
}

interface Entry {
  readonly name: Uint8Array;
  readonly content: Uint8Array;
}

/** The entries of an archive that is whole. */
function entriesOf(bytes: Uint8Array): Entry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries: Entry[] = [];
  for (let at = 0; at + 46 < bytes.length; at++) {
    if (view.getUint32(at, true) !== 0x02014b50) continue;
    const header = view.getUint32(at + 42, true);
    const size = view.getUint32(at + 24, true);
    if (header + 30 > bytes.length) continue;
    const start = header + 30 + view.getUint16(header + 26, true) +
      view.getUint16(header + 28, true);
    const name = bytes.slice(at + 46, at + 46 + view.getUint16(at + 28, true));
    entries.push({ name, content: bytes.slice(start, start + size) });
  }
  return entries;
}

/** Fields of a record: some exchanged when `lie` says so. */
type Lie = (value: bigint | number, size: 2 | 4 | 8) => Uint8Array;

const honest: Lie = integer;

/** About one field in `rarity` is an edge or off by a little. */
function lying(random: RandomStream, rarity: number): Lie {
  return (value, size) => {
    if (random.integer(rarity) !== 0) return integer(value, size);
    const wrong = random.integer(2) === 0
      ? edge(random)
      : BigInt(value) + BigInt(random.integer(9) - 4);
    return integer(wrong, size);
  };
}

function archive(entries: readonly Entry[], lie: Lie, zip64: boolean): Uint8Array {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let position = 0;
  for (const { name, content } of entries) {
    const common = () => [
      lie(0, 2), // flags
      lie(0, 2), // method
      integer(0, 4),
      lie(crc32(content), 4),
      lie(content.length, 4),
      lie(content.length, 4),
      lie(name.length, 2),
    ];
    const local = join(
      integer(0x04034b50, 4),
      integer(20, 2),
      ...common(),
      lie(0, 2),
      name,
      content,
    );
    directory.push(
      join(
        integer(0x02014b50, 4),
        integer(0, 4),
        ...common(),
        ...[lie(0, 2), lie(0, 2), integer(0, 8), lie(position, 4), name],
      ),
    );
    parts.push(local);
    position += local.length;
  }
  const central = join(...directory);
  const count = entries.length;
  const wide = join(
    ...[integer(0x06064b50, 4), integer(44, 8), integer(0, 4), integer(0, 8)],
    ...[lie(count, 8), lie(count, 8), lie(central.length, 8), lie(position, 8)],
    ...[integer(0x07064b50, 4), integer(0, 4), lie(position + central.length, 8), integer(1, 4)],
  );
  const end = join(
    ...[integer(0x06054b50, 4), integer(0, 4), lie(count, 2), lie(count, 2)],
    ...[lie(central.length, 4), lie(position, 4), lie(0, 2)],
  );
  return join(...parts, central, zip64 ? wide : new Uint8Array(0), end);
}

const isPickle = ({ name }: Entry): boolean => new TextDecoder().decode(name).endsWith("data.pkl");

/** A zip checkpoint whose pickle, entries or directory are damaged, its checksums made to fit. */
export function changeZip(bytes: Uint8Array, random: RandomStream, other: Uint8Array): Uint8Array {
  let entries = entriesOf(bytes);
  const kind = random.integer(8);
  if (kind === 0 || entries.length === 0) return changeBytes(bytes, random, other);
  if (kind === 1) return archive(entries, lying(random, 20), random.integer(4) === 0);
  if (kind === 2) {
    const at = random.integer(entries.length);
    const { name, content } = pick([...entries, ...entriesOf(other)], random);
    entries = entries.with(
      at,
      random.integer(2) === 0 ? { name, content: entries[at].content } : {
        name: entries[at].name,
        content,
      },
    );
  } else if (kind === 3) {
    const { name, content } = pick(entries, random);
    const renamed = changeBytes(name, random, name);
    entries.splice(random.integer(entries.length), random.integer(2), { name: renamed, content });
  } else {
    entries = entries.map((entry) => {
      const chosen = isPickle(entry) ? kind > 4 : random.integer(6) === 0;
      if (!chosen) return entry;
      const change = isPickle(entry) ? changePickle : changeBytes;
      return { ...entry, content: change(entry.content, random, other) };
    });
  }
  return archive(entries, random.integer(6) === 0 ? lying(random, 60) : honest, false);
}
