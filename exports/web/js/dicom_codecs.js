// Decoders of compressed DICOM pixel data from npm, each loaded when a file needs it.
//
// They lie in the folder codecs, where the build copies them; the service worker keeps them with the
// page, so that they are there without a network.

const instances = new Map(); // of WebAssembly modules, by name

/** Returns a WebAssembly decoder's module, from codecs/NAME.js and codecs/NAME.wasm. */
async function load(name) {
  if (!instances.has(name)) {
    const wasm = new URL(`../codecs/${name}.wasm`, import.meta.url).href;
    const start = async () => {
      const { default: create } = await import(`../codecs/${name}.js`);
      return create({ locateFile: () => wasm, print: () => {}, printErr: () => {} });
    };
    instances.set(name, start());
  }
  return instances.get(name);
}

/**
 * Decodes with a decoder of cornerstonejs: bytes in, decode, frame information and bytes out.
 *
 * An instance that has failed is not used again, since its memory may be damaged.
 */
async function decodeWith(name, className, bytes, layout) {
  const codec = await load(name);
  let decoder = null;
  try {
    decoder = new codec[className]();
    decoder.getEncodedBuffer(bytes.length).set(bytes);
    decoder.decode();
    const info = decoder.getFrameInfo();
    if (info.width !== layout.width || info.height !== layout.height)
      throw new Error("another size");
    const isPlanar = info.componentCount > 1 && decoder.getInterleaveMode?.() === 0;
    const values = numbersOf(decoder.getDecodedBuffer(), info, isPlanar, layout);
    return { values, channels: info.componentCount };
  } catch (error) {
    instances.delete(name);
    throw new Error(`${name}: ${error?.message ?? error}`);
  } finally {
    if (instances.has(name)) decoder?.delete();
  }
}

/** Returns decoded bytes as interleaved numbers; signed if the layout says so. */
function numbersOf(bytes, { width, height, bitsPerSample, componentCount }, isPlanar, layout) {
  const size = width * height;
  const count = size * componentCount;
  const isWide = bitsPerSample > 8;
  // A copy: the decoder's memory may move, and words must begin at an even address.
  const copy = bytes.slice(0, isWide ? 2 * count : count);
  const words = isWide ? new Uint16Array(copy.buffer) : copy;
  if (words.length < count) throw new Error("too few values");
  const [span, half] = [2 ** bitsPerSample, 2 ** (bitsPerSample - 1)];
  const values = new Int32Array(count);
  for (let at = 0; at < count; at++) {
    const from = isPlanar ? (at % componentCount) * size + Math.floor(at / componentCount) : at;
    const value = words[from] & (span - 1);
    values[at] = layout.isSigned && value >= half ? value - span : value;
  }
  return values;
}

/** Decodes JPEG-LS, lossless and near lossless, with CharLS. */
export function decodeJpegLs(bytes, layout) {
  return decodeWith("jpeg_ls", "JpegLSDecoder", bytes, layout);
}

/** Decodes JPEG 2000 with OpenJPEG. */
export function decodeJpeg2000(bytes, layout) {
  return decodeWith("jpeg_2000", "J2KDecoder", bytes, layout);
}

/** Decodes JPEG lossless (process 14). */
export async function decodeJpegLossless(bytes, layout) {
  const { Decoder } = await import("../codecs/jpeg_lossless.js");
  const decoder = new Decoder();
  const copy = bytes.slice(); // the decoder takes a whole buffer
  const words = decoder.decode(copy.buffer, 0, copy.length);
  const channels = words.length / (layout.width * layout.height);
  if (channels !== 1 && channels !== 3) throw new Error("another size");
  const half = 2 ** (layout.allocated - 1);
  const values = Int32Array.from(words);
  if (layout.isSigned)
    values.forEach((value, at) => value >= half && (values[at] = value - 2 * half));
  return { values, channels };
}
