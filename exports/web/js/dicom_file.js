// Opens DICOM files with dicom-parser: byte order, value representations, place of the pixel data.

import { representationOf, Tags } from "./dicom_tags.js";
import { checkSize, ImageError } from "./errors.js";

const PREFIX = "DICM";
const PREFIX_AT = 128;
const PIXEL_DATA = "x7fe00010";
const UNDEFINED_LENGTH = 0xffffffff;
const [ITEM, DELIMITER] = [0xe000fffe, 0xe0ddfffe]; // (FFFE,E000), (FFFE,E0DD) in little endian
const TRAILERS = [0, 1, 8]; // bytes behind deflated data: none, padding, checksum and size of gzip
const COMPRESSED = "1.2.840.10008.1.2.4."; // and RLE: pixel data in fragments

/**
 * Opens a file.
 *
 * @returns {Promise<object>} { tags, syntax, isLittleEndian, hasHeader, pixelData, fragments,
 *   isTruncated }: syntax the UID of the transfer syntax; hasHeader whether the file has the header
 *   of PS3.10; pixelData the bytes of native pixel data and fragments those of compressed pixel data
 *   (the first is the offset table), each null where there is none; isTruncated whether the end of
 *   compressed pixel data is missing
 */
export async function openDicom(bytes, settings) {
  const { syntaxes, texts } = settings.dicom;
  const { default: parser } = await import("../codecs/dicom_parser.js");
  const hasHeader = latin(bytes, PREFIX_AT, PREFIX_AT + PREFIX.length) === PREFIX;
  let [syntax, start] = ["", 0];
  try {
    if (hasHeader) ({ syntax, start } = readHeader(parser, bytes));
  } catch (error) {
    throw new ImageError(`${texts.dicom_damaged} (${causeOf(error)})`);
  }
  syntax ||= guessedSyntax(bytes, start, syntaxes);
  let content = bytes.subarray(start);
  if (syntax === syntaxes.deflated) content = await inflated(content, settings);
  const isLittleEndian = syntax !== syntaxes.explicit_big;
  // Some files state another syntax than that of their elements.
  const isImplicit = !hasRepresentation(content, 0);
  const dataSet = parsed(parser, content, isImplicit, isLittleEndian);
  const tags = new Tags(dataSet, isLittleEndian);
  const file = { tags, syntax, isLittleEndian, hasHeader };
  return { ...file, ...pixelDataOf(dataSet, syntax, syntaxes) };
}

/** Returns { syntax, start } of the header of PS3.10: the transfer syntax and where data begins. */
function readHeader(parser, bytes) {
  const meta = parser.readPart10Header(bytes);
  const element = meta.elements.x00020010;
  if (!element) return { syntax: "", start: meta.position };
  const syntax = latin(bytes, element.dataOffset, element.dataOffset + element.length);
  return { syntax: syntax.replace(/[ \0]+$/, ""), start: meta.position };
}

/** Returns the transfer syntax of a file that does not state it, by its first element. */
function guessedSyntax(bytes, start, syntaxes) {
  if (!hasRepresentation(bytes, start)) return syntaxes.implicit_little;
  const isBig = bytes[start] === 0 && bytes[start + 1] !== 0;
  return isBig ? syntaxes.explicit_big : syntaxes.explicit_little;
}

/** Says whether an element has a value representation, two letters behind its tag. */
function hasRepresentation(bytes, start) {
  return /^[A-Z]{2}$/.test(latin(bytes, start + 4, start + 6));
}

/** Returns a dicom-parser data set; elements behind a damaged one are missing. */
function parsed(parser, bytes, isImplicit, isLittleEndian) {
  const order = isLittleEndian
    ? parser.littleEndianByteArrayParser
    : parser.bigEndianByteArrayParser;
  const dataSet = new parser.DataSet(order, bytes, {});
  const options = { untilTag: PIXEL_DATA, vrCallback: representationOf };
  const parse = isImplicit ? parser.parseDicomDataSetImplicit : parser.parseDicomDataSetExplicit;
  try {
    parse(dataSet, new parser.ByteStream(order, bytes, 0), bytes.length, options);
  } catch {
    // What stands before the damage is used; pixel data that is missing is reported.
  }
  return dataSet;
}

/** Returns { pixelData, fragments, isTruncated }. */
function pixelDataOf({ byteArray, elements }, syntax, syntaxes) {
  const element = elements[PIXEL_DATA];
  if (!element) return { pixelData: null, fragments: null, isTruncated: false };
  const { dataOffset, length } = element;
  const isCompressed = syntax.startsWith(COMPRESSED) || syntax === syntaxes.rle;
  if (!isCompressed && length !== UNDEFINED_LENGTH) {
    const pixelData = byteArray.subarray(dataOffset, dataOffset + length);
    return { pixelData, fragments: null, isTruncated: false };
  }
  const fragments = readFragments(byteArray, dataOffset);
  return { pixelData: null, fragments, isTruncated: fragments === null };
}

/** Returns the fragments of encapsulated pixel data (PS3.5, A.4), or null where the end is missing. */
function readFragments(bytes, offset) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const fragments = [];
  for (let at = offset; at + 8 <= bytes.length;) {
    const [tag, length] = [view.getUint32(at, true), view.getUint32(at + 4, true)];
    if (tag === DELIMITER) return fragments;
    if (tag !== ITEM || at + 8 + length > bytes.length) return null;
    fragments.push(bytes.subarray(at + 8, at + 8 + length));
    at += 8 + length;
  }
  return null;
}

/** Inflates bytes. Browsers refuse what some writers append, see TRAILERS. */
async function inflated(bytes, settings) {
  for (const length of TRAILERS) {
    try {
      return await inflatedWhole(bytes.subarray(0, bytes.length - length), settings);
    } catch (error) {
      if (error instanceof ImageError) throw error;
      // The next attempt leaves out more.
    }
  }
  const { dicom_damaged: damaged } = settings.dicom.texts;
  throw new ImageError(`${damaged} (incomplete or truncated stream)`);
}

async function inflatedWhole(bytes, settings) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const pieces = [];
  let size = 0;
  const reader = stream.getReader();
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    size += read.value.length;
    checkSize(size, settings); // a small file may inflate to more than the memory
    pieces.push(read.value);
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

function latin(bytes, start, end) {
  return String.fromCharCode(...bytes.subarray(start, end));
}

function causeOf(error) {
  return String(error?.message ?? error?.exception ?? error);
}
