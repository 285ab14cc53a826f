// RLE lossless pixel data (DICOM PS3.5, annex G): the bytes of values in separate segments.

const HEADER_BYTES = 64;

/**
 * Decodes a frame.
 *
 * @param {Uint8Array} bytes the frame
 * @param {object} layout see readLayout
 * @returns {{values: Int32Array | Float64Array, channels: number}} interleaved
 */
export function decodeRle(bytes, { width, height, allocated, samples, isSigned }) {
  const size = width * height;
  const planes = allocated / 8;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = view.getUint32(0, true);
  if (count !== planes * samples || HEADER_BYTES > bytes.length) throw new Error("RLE segments");
  const values = new (allocated > 16 ? Float64Array : Int32Array)(size * samples);
  for (let segment = 0; segment < count; segment++) {
    const start = view.getUint32(4 + 4 * segment, true);
    const end = segment + 1 < count ? view.getUint32(8 + 4 * segment, true) : bytes.length;
    const plane = unpacked(bytes.subarray(start, end), size);
    const channel = Math.floor(segment / planes); // each begins with its highest byte
    for (let i = 0, at = channel; i < size; i++, at += samples) {
      values[at] = values[at] * 256 + plane[i];
    }
  }
  const half = 2 ** (allocated - 1);
  const whole = 2 * half;
  const numbers = isSigned ? values.map((value) => (value < half ? value : value - whole)) : values;
  return { values: numbers, channels: samples };
}

/** Unpacks a segment: literal runs, and repeated bytes. */
function unpacked(packed, size) {
  const bytes = new Uint8Array(size);
  let filled = 0;
  for (let at = 0; at < packed.length && filled < size;) {
    const code = packed[at++];
    if (code < 128) {
      const run = packed.subarray(at, at + Math.min(code + 1, size - filled));
      bytes.set(run, filled);
      filled += run.length;
      at += code + 1;
    } else if (code > 128) {
      const length = 257 - code;
      bytes.fill(packed[at++], filled, filled + length);
      filled += length;
    }
  }
  if (filled < size) throw new Error("an RLE segment ends too early");
  return bytes;
}
