/**
 * What a JPEG file consists of (ITU-T T.81): its size and kind, the segments that decide its pixels,
 * and whether everything a decoder relies on is there and valid.
 */
import { Buffer } from "node:buffer";
import type { Extent } from "./geometry.ts";
import { JpegTables } from "./jpeg_tables.ts";

export interface JpegStructure extends Extent {
  readonly precision: number;
  readonly components: number;
  /** Passes over the picture; a progressive file has about ten. */
  readonly scans: number;
  /**
   * Whether every table and scan is as libjpeg needs it, in the kinds of JPEG that it always reads.
   * Damage to coded pixels does not count: libjpeg goes on after it.
   */
  readonly sound: boolean;
  /** The file up to its end marker without comments, profiles and previews. */
  readonly essence: Buffer;
}

const SOI = 0xd8, EOI = 0xd9, SOS = 0xda, DQT = 0xdb, DHT = 0xc4, DRI = 0xdd, COM = 0xfe;
const APP0 = 0xe0, ADOBE = 0xee, APP15 = 0xef;

/** Tables and scans; pictures have dozens. */
const MOST_SEGMENTS = 10_000;

/** Start of frame, whatever the coding: C4, C8 and CC are something else. */
const isFrame = (marker: number): boolean =>
  marker >= 0xc0 && marker <= 0xcf && marker !== DHT && marker !== 0xc8 && marker !== 0xcc;

/** Where the coded pixels that begin at `at` end: at a marker that is no restart. */
function endOfScan(file: Buffer, at: number): number {
  // A loop, since 0xff is frequent and a call of indexOf costs as much as hundreds of bytes.
  for (let i = at; i + 1 < file.length; i++) {
    if (file[i] !== 0xff) continue;
    const next = file[i + 1];
    if (next !== 0 && next !== 0xff && !(next >= 0xd0 && next <= 0xd7)) return i;
  }
  return file.length;
}

/**
 * Reads the segments of a JPEG file up to its end marker.
 * @throws Error saying how the file is cut off or damaged.
 */
export function readJpegStructure(bytes: Uint8Array): JpegStructure {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const kept: Buffer[] = [file.subarray(0, 2)];
  const tables = new JpegTables();
  let scans = 0, sound = true;
  for (let at = 2;;) {
    // As libjpeg, over bytes that belong to no segment and over fill bytes.
    const start = file.indexOf(0xff, at);
    if (start < 0 || start + 1 >= file.length) throw cutOff();
    if (start !== at) sound = false;
    const marker = file[start + 1];
    if (marker === 0xff || marker === 0) {
      if (marker === 0) sound = false;
      at = start + (marker === 0 ? 2 : 1);
      continue;
    }
    if (marker === EOI) {
      kept.push(file.subarray(start, start + 2));
      break;
    }
    if (marker === SOI || (marker >= 0xd0 && marker <= 0xd7) || marker === 0x01) {
      sound = false;
      at = start + 2;
      continue;
    }
    if (start + 4 > file.length) throw cutOff();
    const end = start + 2 + file.readUInt16BE(start + 2);
    if (end > file.length) throw cutOff();
    const body = file.subarray(start + 4, Math.max(start + 4, end));
    const understood = readSegment(tables, marker, body);
    sound &&= understood && end >= start + 4;
    at = end;
    if (marker === SOS) {
      scans++;
      at = endOfScan(file, end);
    }
    if (decides(marker)) kept.push(file.subarray(start, at));
    if (kept.length > MOST_SEGMENTS) throw new Error("it has more segments than any picture needs");
  }
  const { frame } = tables;
  if (frame === undefined || scans === 0) {
    throw new Error("it is damaged: it has a JPEG's beginning and end and no picture between");
  }
  const { width, height, precision, components } = frame;
  sound &&= tables.isComplete;
  return {
    width,
    height,
    precision,
    components: components.length,
    scans,
    sound,
    essence: Buffer.concat(kept),
  };
}

const cutOff = (): Error => new Error("it is cut off: a JPEG ends with an end marker");

/** Whether a segment has to do with pixels. */
function decides(marker: number): boolean {
  return marker === APP0 || marker === ADOBE ||
    !(marker === COM || (marker > APP0 && marker <= APP15));
}

/** Takes in what a segment says; false where a decoder may stumble over it. */
function readSegment(tables: JpegTables, marker: number, body: Buffer): boolean {
  if (isFrame(marker)) return tables.readFrame(marker, body);
  switch (marker) {
    case DQT:
      return tables.readQuantisation(body);
    case DHT:
      return tables.readHuffman(body);
    case SOS:
      return tables.readScan(body);
    case DRI:
      return body.length === 2;
    default:
      return marker === COM || (marker >= APP0 && marker <= APP15);
  }
}
