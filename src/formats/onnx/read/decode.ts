/** Bytes to protobuf messages, with bounds on what a hostile file may cost. */

import { type DescMessage, fromBinary, ScalarType } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { reasonOf, SecateurError } from "../../../errors.ts";
import { corrupt, quoted } from "../../bytes.ts";
import { type ModelProto, ModelProtoSchema } from "../proto/onnx_pb.ts";

// Rough sizes on the heap, so that two bytes of an empty message or one of a packed integer cannot
// become hundreds unnoticed.
const MESSAGE_BYTES = 400;
const FIELD_BYTES = 80;
const INTEGER_BYTES = 40;
const FLOAT_BYTES = 8;
const ALLOWANCE = 2 ** 26;
const BYTES_PER_BYTE = 4;

/** Bytes that one packed element takes in the file at least, and on the heap. */
function packedCost(scalar: ScalarType): { inFile: number; onHeap: number } {
  switch (scalar) {
    case ScalarType.FLOAT:
      return { inFile: 4, onHeap: FLOAT_BYTES };
    case ScalarType.DOUBLE:
      return { inFile: 8, onHeap: FLOAT_BYTES };
    default:
      return { inFile: 1, onHeap: INTEGER_BYTES };
  }
}

/** Adds up the heap that a message would take, without decoding it. */
function costOf(reader: BinaryReader, end: number, message: DescMessage): number {
  let cost = MESSAGE_BYTES;
  while (reader.pos < end) {
    const [number, wire] = reader.tag();
    const field = message.fields.find((each) => each.number === number);
    if (field === undefined) {
      reader.skip(wire, number);
    } else if (wire === WireType.LengthDelimited && field.message !== undefined) {
      const length = reader.uint32();
      cost += costOf(reader, insideOf(reader.pos + length, end), field.message);
    } else if (wire === WireType.LengthDelimited && isPacked(field.scalar)) {
      const length = reader.uint32();
      const { inFile, onHeap } = packedCost(field.scalar);
      cost += length / inFile * onHeap;
      reader.pos = insideOf(reader.pos + length, end);
    } else {
      cost += FIELD_BYTES;
      reader.skip(wire, number);
    }
  }
  if (reader.pos > end) throw new RangeError(`a field runs past byte ${end}`);
  return cost;
}

function isPacked(scalar: ScalarType | undefined): scalar is ScalarType {
  return scalar !== undefined && scalar !== ScalarType.STRING && scalar !== ScalarType.BYTES;
}

function insideOf(position: number, end: number): number {
  if (position > end) throw new RangeError(`a field runs past byte ${end}`);
  return position;
}

/**
 * The messages of an ONNX file; raw tensor data stays a view of `bytes`.
 * @throws SecateurError `format-corrupt` for bytes that are no protocol buffer or would take far
 * more memory than the file, `format-unknown` for one that holds no ONNX model.
 */
export function decodeModel(bytes: Uint8Array, source: string): ModelProto {
  let model: ModelProto;
  try {
    const cost = costOf(new BinaryReader(bytes), bytes.length, ModelProtoSchema);
    if (cost > ALLOWANCE + BYTES_PER_BYTE * bytes.length) {
      throw new RangeError(`${bytes.length} bytes unpack to about ${Math.round(cost)}`);
    }
    model = fromBinary(ModelProtoSchema, bytes, { readUnknownFields: false });
  } catch (thrown) {
    throw corrupt(source, `expected an ONNX model, but ${quoted(reasonOf(thrown))}`);
  }
  if (model.graph === undefined || model.opsetImport.length === 0) {
    throw new SecateurError(
      "format-unknown",
      `${source}: expected an ONNX model, but ${
        bytes.length === 0 ? "the file is empty" : "this holds no graph or no operator set"
      }; check that the download finished and that this is the model's file.`,
    );
  }
  return model;
}
