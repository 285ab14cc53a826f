// Files to grey images, as Radiograph.open in bone_age_tf/radiograph.py.

import { checkPixels, ImageError } from "./errors.js";
import { scaleOwnRange } from "./grey_levels.js";
import { turned } from "./image.js";
import { decodeJpeg, isJpeg } from "./jpeg.js";
import { decodePixels, isPng, orientationOf, readChunks, sizeOf } from "./png.js";

const DICOM_PREFIX = "DICM";
const DICOM_HEAD_BYTES = 132;

/**
 * Decodes a PNG, JPEG or DICOM file.
 *
 * Colour becomes grey, transparent parts black, 16 bits are scaled by the image's own range, and
 * EXIF orientation is applied. For DICOM see dicom.js, which is loaded with the first such file.
 *
 * @param {Uint8Array} bytes the file
 * @param {object} settings the page's settings.json
 * @param {string} name the file's name; an extension of DICOM counts where the file has no header
 * @returns {Promise<{width: number, height: number, pixels: Float32Array, facts: ?object}>} pixels
 *   of height x width, 0 to 255; facts: what a DICOM file states, see dicom_facts.js, else null
 */
export async function decode(bytes, settings, name = "") {
  if (!bytes.length) throw new ImageError("the file is empty");
  try {
    if (isDicom(bytes, settings, name)) {
      const { readDicom } = await import("./dicom.js");
      return await readDicom(bytes, settings);
    }
    const read = isPng(bytes) ? decodePng : isJpeg(bytes) ? decodeJpeg : null;
    if (!read) throw new ImageError(settings.texts.no_image + otherKind(bytes, settings));
    return { ...(await read(bytes, settings)), facts: null };
  } catch (error) {
    if (error instanceof ImageError) throw error;
    if (error instanceof RangeError) {
      throw new ImageError("too large for this browser's memory; reduce it first");
    }
    throw new ImageError(`the image is damaged (${error.message || error})`);
  }
}

/** Says whether a file is DICOM by its content, or should be by its name, as is_dicom in Python. */
function isDicom(bytes, settings, name) {
  const prefix = bytes.subarray(DICOM_HEAD_BYTES - DICOM_PREFIX.length, DICOM_HEAD_BYTES);
  if (String.fromCharCode(...prefix) === DICOM_PREFIX) return true;
  const isNamed = settings.dicom.suffixes.some((suffix) => name.toLowerCase().endsWith(suffix));
  return isNamed && !isPng(bytes) && !isJpeg(bytes);
}

/** Returns what a file is that people have dropped by mistake, as in bone_age_tf/images/file_kinds.py. */
function otherKind(bytes, settings) {
  const head = String.fromCharCode(...bytes.subarray(0, 140));
  const found = settings.other_kinds.find(([place, mark]) => head.startsWith(mark, place));
  return found ? ` but ${found[2]}` : "";
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
