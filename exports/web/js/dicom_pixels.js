// Decodes the pixel data of a DICOM file, as bone_age_tf/images/dicom_pixels.py.

import { decodeJpegLossless, decodeJpegLs, decodeJpeg2000 } from "./dicom_codecs.js";
import { decodeRle } from "./dicom_rle.js";
import { checkPixels, ImageError } from "./errors.js";
import { decodeJpeg } from "./jpeg.js";

const GREYS = ["MONOCHROME1", "MONOCHROME2"];
const PALETTE = "PALETTE COLOR";
const CONVERTED = ["RGB", "YBR_RCT", "YBR_ICT"]; // decoders of JPEG 2000 return these as RGB
const DIFFERENCES = ["YBR_FULL", "YBR_FULL_422"]; // colours as brightness and colour differences
const SUBSAMPLED = "YBR_FULL_422";

/**
 * Reads how the pixel data of a file is stored, and checks that it can be decoded.
 *
 * Returns { syntax, label, width, height, allocated, stored, samples, isPlanar, isSigned, colours,
 * isLossy, unusedLowBits, isLittleEndian }: label names the pixel data in messages; unusedLowBits is
 * the number of bits below the stored ones; isLossy says whether decoded values may lie beyond the
 * range of the stored bits.
 *
 * @throws {ImageError} several frames, too many pixels, truncated pixel data, or no decoder
 */
export function readLayout({ tags, syntax, isLittleEndian, pixelData }, settings) {
  const { texts, syntaxes, syntax_names: names, lossy } = settings.dicom;
  const frames = tags.whole("NumberOfFrames", 1);
  if (frames > 1) throw new ImageError(`${frames} ${texts.several_frames}`);
  const [width, height] = [tags.whole("Columns"), tags.whole("Rows")];
  const allocated = tags.whole("BitsAllocated");
  const bits = tags.whole("BitsStored");
  if (Math.min(width, height, allocated) <= 0 || bits > allocated) {
    throw new ImageError(`${texts.dicom_damaged} (size or bits are not stated)`);
  }
  checkPixels(width, height, settings);
  const highBit = tags.has("HighBit") ? tags.whole("HighBit", bits - 1) : bits - 1;
  const isPlaced = bits > 0 && bits - 1 <= highBit && highBit < allocated;
  const layout = {
    syntax,
    label: `${names[syntax] ?? syntax} pixel data`,
    width,
    height,
    allocated,
    stored: bits || allocated,
    samples: tags.whole("SamplesPerPixel", 1),
    isPlanar: tags.whole("PlanarConfiguration") === 1,
    isSigned: tags.whole("PixelRepresentation") === 1,
    colours: tags.text("PhotometricInterpretation").toUpperCase(),
    isLossy: lossy.includes(syntax),
    unusedLowBits: isPlaced && !isJpegFamily(syntax) ? highBit + 1 - bits : 0,
    isLittleEndian,
  };
  requireDecoder(layout, settings.dicom);
  if (pixelData) requireAllBytes(layout, pixelData, texts);
  else if (isNative(syntax, syntaxes)) throw new ImageError(texts.pixel_data_truncated);
  return layout;
}

function isNative(syntax, { implicit_little, explicit_little, explicit_big, deflated }) {
  return [implicit_little, explicit_little, explicit_big, deflated].includes(syntax);
}

function isJpegFamily(syntax) {
  return syntax.startsWith("1.2.840.10008.1.2.4.");
}

/** Throws an error with the syntax's name if nothing here decodes it. */
function requireDecoder({ syntax, label, stored }, { syntaxes, texts }) {
  if (syntax === syntaxes.jpeg_extended && stored > 8) {
    throw new ImageError(`${label} of ${stored} bits ${texts.undecodable}`);
  }
  if (!isNative(syntax, syntaxes) && !decoders(syntaxes)[syntax]) {
    throw new ImageError(`${label} ${texts.undecodable}`);
  }
}

/** Throws an error if uncompressed pixel data is shorter than its image. */
function requireAllBytes(layout, pixelData, texts) {
  let bits = layout.width * layout.height * layout.allocated * layout.samples;
  if (layout.colours === SUBSAMPLED) bits = Math.floor((bits * 2) / 3);
  const needed = Math.floor((bits + 7) / 8);
  if (pixelData.length < needed) {
    const there = `${pixelData.length} of ${needed} bytes`;
    throw new ImageError(`${texts.pixel_data_truncated} (${there})`);
  }
}

/** Returns functions from (file, layout, settings) to { values, channels } by transfer syntax. */
function decoders(syntaxes) {
  const browser = ({ fragments }, layout, settings) => decodeInBrowser(fragments, layout, settings);
  const lossless = ({ fragments }, layout) => decodeJpegLossless(joined(fragments), layout);
  const jpegLs = ({ fragments }, layout) => decodeJpegLs(joined(fragments), layout);
  const jpeg2000 = ({ fragments }, layout) => decodeJpeg2000(joined(fragments), layout);
  return {
    native: ({ tags, pixelData }, layout) => decodeNative(tags, pixelData, layout),
    [syntaxes.rle]: ({ fragments }, layout) => decodeRle(joined(fragments), layout),
    [syntaxes.jpeg_baseline]: browser,
    [syntaxes.jpeg_extended]: browser,
    [syntaxes.jpeg_lossless]: lossless,
    [syntaxes.jpeg_lossless_sv1]: lossless,
    [syntaxes.jpeg_ls]: jpegLs,
    [syntaxes.jpeg_ls_near]: jpegLs,
    [syntaxes.jpeg_2000_lossless]: jpeg2000,
    [syntaxes.jpeg_2000]: jpeg2000,
    [syntaxes.htj2k_lossless]: jpeg2000,
    [syntaxes.htj2k_rpcl]: jpeg2000,
    [syntaxes.htj2k]: jpeg2000,
  };
}

/**
 * Decodes pixel data.
 *
 * Returns { values, channels, white }: values an Int32Array, or a Float64Array for more than 16 bits,
 * of height x width x channels; channels 1 for grey values and 3 for red, green and blue; white the
 * value of white in the colours of a palette, else 0.
 *
 * @throws {ImageError} the pixel data is damaged, or has colours that cannot be converted
 */
export async function decodePixels(file, layout, settings) {
  const { syntaxes, texts } = settings.dicom;
  const all = decoders(syntaxes);
  let decoded;
  try {
    decoded = await (all[layout.syntax] ?? all.native)(file, layout, settings);
  } catch (error) {
    if (error instanceof ImageError || error instanceof RangeError) throw error;
    throw new ImageError(`${settings.texts.damaged} (${layout.label} cannot be decoded)`);
  }
  const { channels, isConverted = false } = decoded;
  let { values } = decoded;
  const { colours, unusedLowBits } = layout;
  if (colours === PALETTE && channels === 1) {
    return applyPalette(file.tags, values, layout, settings);
  }
  if (channels === 1 && GREYS.includes(colours)) {
    if (unusedLowBits) values = values.map((value) => value >> unusedLowBits);
    return { values, channels, white: 0 };
  }
  if (channels === 3 && (isConverted || CONVERTED.includes(colours))) {
    return { values, channels, white: 0 };
  }
  if (channels === 3 && DIFFERENCES.includes(colours) && layout.allocated === 8) {
    return { values: toRgb(values), channels, white: 0 };
  }
  throw new ImageError(`${texts.unknown_colours} ${colours}`);
}

/** Decodes uncompressed pixel data. */
function decodeNative(tags, bytes, layout) {
  const { width, height, allocated, samples, colours, isPlanar } = layout;
  if (![1, 8, 16, 32].includes(allocated)) throw new Error(`${allocated} bits`);
  const size = width * height;
  if (allocated === 1) {
    const bit = (_, at) => (bytes[at >> 3] >> (at & 7)) & 1;
    return { values: Int32Array.from({ length: size }, bit), channels: 1 };
  }
  let content = bytes;
  const isSwapped = !layout.isLittleEndian && tags.element("PixelData").vr === "OW";
  if (allocated === 8 && isSwapped) content = swapped(bytes);
  if (colours === SUBSAMPLED) return { values: spread(content, size), channels: 3 };
  const values = wordsOf(content, size * samples, layout);
  if (samples !== 3 || !isPlanar) return { values, channels: samples };
  return { values: interleaved(values, size), channels: samples };
}

/** Returns words as numbers, signed if the layout says so. */
function wordsOf(bytes, count, { allocated, isSigned, isLittleEndian }) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const getter = `get${isSigned ? "Int" : "Uint"}${allocated}`;
  const Kind = allocated > 16 ? Float64Array : Int32Array;
  const values = new Kind(count);
  const step = allocated / 8;
  for (let i = 0; i < count; i++) values[i] = view[getter](i * step, isLittleEndian);
  return values;
}

/** Swaps the bytes of words, in which big endian files store values of 8 bits. */
function swapped(bytes) {
  return bytes.map((_, at) => bytes[at ^ 1] ?? 0);
}

/** Returns interleaved colours of planes, one after the other. */
function interleaved(planes, size) {
  return planes.map((_, at) => planes[(at % 3) * size + Math.floor(at / 3)]);
}

/** Returns colours of which two pixels share their differences, as for each pixel its own. */
function spread(bytes, size) {
  const values = new Int32Array(3 * size);
  for (let pixel = 0; pixel < size; pixel++) {
    const at = 4 * (pixel >> 1);
    values.set([bytes[at + (pixel & 1)], bytes[at + 2], bytes[at + 3]], 3 * pixel);
  }
  return values;
}

/** Returns red, green and blue of brightness and colour differences (PS3.3, C.7.6.3.1.2). */
function toRgb(values) {
  const result = new Int32Array(values.length);
  const level = (value) => Math.min(Math.max(Math.floor(value + 0.5), 0), 255);
  for (let at = 0; at < values.length; at += 3) {
    const [y, blue, red] = [values[at], values[at + 1] - 128, values[at + 2] - 128];
    result[at] = level(y + 1.402 * red);
    result[at + 1] = level(y - 0.344136 * blue - 0.714136 * red);
    result[at + 2] = level(y + 1.772 * blue);
  }
  return result;
}

/** Decodes a JPEG of 8 bits with the browser's decoder. */
async function decodeInBrowser(fragments, layout, settings) {
  const bytes = joined(fragments);
  const isRgb = layout.samples === 3 && layout.colours === "RGB";
  const image = await decodeJpeg(isRgb ? withoutTransform(bytes) : bytes, settings);
  requireSize(image, layout);
  if (layout.samples === 1) {
    return { values: Int32Array.from(image.pixels, Math.round), channels: 1 };
  }
  // Grey is the same in each channel: the weights of red, green and blue add up to 1.
  const values = new Float64Array(3 * image.pixels.length);
  image.pixels.forEach((value, at) => values.fill(value, 3 * at, 3 * at + 3));
  return { values, channels: 3, isConverted: true };
}

// The marker of Adobe, whose last byte says that colours are red, green and blue.
const ADOBE = [0xff, 0xee, 0, 14, 0x41, 0x64, 0x6f, 0x62, 0x65, 0, 100, 0, 0, 0, 0, 0];
const ADOBE_MARK = String.fromCharCode(...ADOBE.slice(0, 9));

/** Returns a JPEG whose colours are not converted, unless the JPEG itself states what they are. */
function withoutTransform(bytes) {
  const head = String.fromCharCode(...bytes.subarray(0, 1024));
  if (head.includes(ADOBE_MARK)) return bytes;
  const [start, rest] = [bytes.subarray(0, 2), bytes.subarray(2)];
  const marked = new Uint8Array(bytes.length + ADOBE.length);
  marked.set(start);
  marked.set(ADOBE, 2);
  marked.set(rest, 2 + ADOBE.length);
  return marked;
}

function requireSize({ width, height }, layout) {
  if (width !== layout.width || height !== layout.height) throw new Error("another size");
}

/** Returns the compressed frame of fragments, the first of which is the offset table. */
function joined([, ...pieces]) {
  if (!pieces.length) throw new Error("no fragments");
  if (pieces.length === 1) return pieces[0];
  const bytes = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

const PALETTE_COLOURS = ["Red", "Green", "Blue"];

/** Returns the colours of palette indices (PS3.3, C.7.6.3.1.5). */
function applyPalette(tags, values, layout, settings) {
  const [count, first, bits] = tags.numbers("RedPaletteColorLookupTableDescriptor");
  const tables = PALETTE_COLOURS.map((name) => paletteOf(tags, name, count || 65_536, bits));
  if (tables.some((table) => !table.length)) {
    const words = `${layout.label} cannot be decoded`;
    throw new ImageError(`${settings.texts.damaged} (${words})`);
  }
  const colours = new Int32Array(3 * values.length);
  values.forEach((value, pixel) => {
    tables.forEach((table, channel) => {
      const place = Math.min(Math.max(value - first, 0), table.length - 1);
      colours[3 * pixel + channel] = table[place];
    });
  });
  const most = colours.reduce((largest, value) => Math.max(largest, value), 0);
  const white = 2 ** bits - 1;
  return { values: colours, channels: 3, white: most <= white ? white : 65_535 };
}

function paletteOf(tags, name, count, bits) {
  const keyword = `${name}PaletteColorLookupTableData`;
  const bytes = tags.raw(keyword);
  return bits <= 8 && bytes.length <= count + 1 ? Array.from(bytes) : tags.sixteenBits(keyword);
}
