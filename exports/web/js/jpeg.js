// JPEG files to grey values, decoded by the browser.

import { checkPixels } from "./errors.js";

const STRIP_ROWS = 256;

export function isJpeg(bytes) {
  return bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff;
}

/**
 * Decodes a JPEG file; EXIF orientation is applied.
 *
 * Returns { width, height, pixels }, pixels a Float32Array of height x width, 0 to 255.
 */
export async function decodeJpeg(bytes, settings) {
  const { width, height, scan } = readHeader(bytes);
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

/** Returns { width, height, scan }: the size and where the coded pixels begin. */
function readHeader(bytes) {
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
