// Files to grey images, as read_radiograph in bone_age_tf/images/reading.py.

import { turned } from "./image.js";
import { decodePixels, isPng, orientationOf, readChunks, sizeOf } from "./png.js";

const MEGABYTE = 1e6;
const STRIP_ROWS = 256;

/** A file that cannot be read; the message says what is wrong and what helps. */
export class ImageError extends Error {}

/**
 * Decodes a PNG or JPEG file.
 *
 * Colour becomes grey, transparent parts black, 16 bits are scaled by the image's own range, and
 * EXIF orientation is applied.
 *
 * Returns { width, height, pixels }, pixels a Float32Array of height x width, 0 to 255.
 */
export async function decode(bytes, settings) {
  if (!bytes.length) throw new ImageError("the file is empty");
  const read = isPng(bytes) ? decodePng : isJpeg(bytes) ? decodeJpeg : null;
  if (!read) throw new ImageError(settings.texts.no_image + otherKind(bytes, settings));
  try {
    return await read(bytes, settings);
  } catch (error) {
    if (error instanceof ImageError) throw error;
    if (error instanceof RangeError) {
      throw new ImageError("too large for this browser's memory; reduce it first");
    }
    throw new ImageError(`the image is damaged (${error.message || error})`);
  }
}

/** Checks a file before its bytes are read. */
export function checkSize(bytes, settings) {
  if (bytes > settings.most_file_bytes) {
    const size = Math.round(bytes / MEGABYTE);
    const most = Math.round(settings.most_file_bytes / MEGABYTE);
    throw new ImageError(`${size} MB is too large; at most ${most} MB are read here`);
  }
}

/** Returns what a file is that people have dropped by mistake, as in bone_age_tf/images/file_kinds.py. */
function otherKind(bytes, settings) {
  const head = String.fromCharCode(...bytes.subarray(0, 140));
  const found = settings.other_kinds.find(([place, mark]) => head.startsWith(mark, place));
  return found ? ` but ${found[2]}` : "";
}

function checkPixels(width, height, settings) {
  if (width * height > settings.most_pixels) {
    throw new ImageError(`${width} x ${height} ${settings.texts.too_large}`);
  }
}

async function decodePng(bytes, settings) {
  const { width, height } = sizeOf(bytes);
  checkPixels(width, height, settings);
  const chunks = readChunks(bytes);
  const { depth } = chunks.header;
  const pixels = await decodePixels(chunks, settings.luma);
  if (depth === 16) scaleOwnRange(pixels, settings.far);
  return upright({ width, height, pixels }, orientationOf(chunks.exif));
}

/** Scales 16-bit greys in place, as scale_sixteen_bit in bone_age_tf/images/decoding.py. */
function scaleOwnRange(pixels, far) {
  const counts = new Uint32Array(65536);
  for (const value of pixels) counts[Math.round(value)] += 1;
  const lowest = counts.findIndex((count) => count > 0);
  const highest = counts.findLastIndex((count) => count > 0);
  const between = counts.slice();
  between[lowest] = between[highest] = 0;
  const total = between.reduce((sum, count) => sum + count, 0);
  const reaches = (condition) => {
    let sum = 0;
    return between.findIndex((count) => condition((sum += count)));
  };
  const first = reaches((sum) => 100 * sum > total);
  const last = reaches((sum) => 100 * sum >= 99 * total);
  const reach = total > 0 && first < last ? far * (last - first) : Infinity;
  const low = counts.findIndex((count, level) => count > 0 && level >= first - reach);
  const high = counts.findLastIndex((count, level) => count > 0 && level <= last + reach);
  const factor = 255 / Math.max(high - low, 1);
  for (let i = 0; i < pixels.length; i++) {
    pixels[i] = (Math.min(Math.max(pixels[i], low), high) - low) * factor;
  }
}

// Transposed, then mirrored left to right, then top to bottom.
const ORIENTATIONS = {
  2: [false, true, false],
  3: [false, true, true],
  4: [false, false, true],
  5: [true, false, false],
  6: [true, true, false],
  7: [true, true, true],
  8: [true, false, true],
};

function upright(image, orientation) {
  return orientation === 1 ? image : turned(image, ...ORIENTATIONS[orientation]);
}

function isJpeg(bytes) {
  return bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff;
}

/** Returns { width, height, scan }: the size and where the coded pixels begin. */
function readJpegHeader(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let size = null;
  for (let at = 2; at + 4 <= bytes.length;) {
    if (bytes[at] !== 0xff) throw new Error("its markers are malformed");
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      at += 1;
      continue;
    }
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame && at + 9 <= bytes.length) {
      size = { height: view.getUint16(at + 5), width: view.getUint16(at + 7) };
    }
    if (marker === 0xda) {
      if (!size?.width || !size.height) break;
      return { ...size, scan: at };
    }
    at += 2 + view.getUint16(at + 2);
  }
  throw new Error("the file ends too early");
}

async function decodeJpeg(bytes, settings) {
  const { width, height, scan } = readJpegHeader(bytes);
  checkPixels(width, height, settings);
  if (!endsAfter(bytes, scan)) throw new Error("the file ends too early");
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }), {
    imageOrientation: "from-image",
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
  try {
    return greyOf(bitmap, settings.luma);
  } finally {
    bitmap.close();
  }
}

/** Says whether the end of the image follows; browsers show the rest of a cut file as grey. */
function endsAfter(bytes, scan) {
  for (let at = bytes.length - 2; at > scan; at--) {
    if (bytes[at] === 0xff && bytes[at + 1] === 0xd9) return true;
  }
  return false;
}

/** Reads a bitmap in strips, since a canvas of a whole scan is more than some phones have. */
function greyOf(bitmap, [red, green, blue]) {
  const { width, height } = bitmap;
  const pixels = new Float32Array(width * height);
  const canvas = new OffscreenCanvas(width, Math.min(height, STRIP_ROWS));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new RangeError("no canvas of this width");
  for (let top = 0; top < height; top += STRIP_ROWS) {
    const rows = Math.min(STRIP_ROWS, height - top);
    context.drawImage(bitmap, 0, top, width, rows, 0, 0, width, rows);
    const { data } = context.getImageData(0, 0, width, rows);
    for (let i = 0, at = top * width; i < data.length; i += 4, at++) {
      pixels[at] = red * data[i] + green * data[i + 1] + blue * data[i + 2];
    }
  }
  return { width, height, pixels };
}
