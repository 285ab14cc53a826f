// Errors that are shown to the user, and the checks of sizes that raise them.

const MEGABYTE = 1e6;

/** A file that cannot be read; the message says what is wrong and what helps. */
export class ImageError extends Error {}

/** Checks the size of a file in bytes before it is read. */
export function checkSize(bytes, settings) {
  if (bytes > settings.most_file_bytes) {
    const size = Math.round(bytes / MEGABYTE);
    const most = Math.round(settings.most_file_bytes / MEGABYTE);
    throw new ImageError(`${size} MB is too large; at most ${most} MB are read here`);
  }
}

/** Checks the size of an image in pixels before it is decoded. */
export function checkPixels(width, height, settings) {
  if (width * height > settings.most_pixels) {
    throw new ImageError(`${width} x ${height} ${settings.texts.too_large}`);
  }
}
