// PNG files to grey values, of every bit depth and colour type.
//
// Browsers decode to 8 bits a channel and may correct colours; a radiograph of 16 bits would lose
// what the model needs. So the samples are read here as they are in the file (PNG, third edition,
// W3C 2025), and turned to grey as bone_age_tf/images/reading.py does.

const CHANNELS = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const DEPTHS = { 0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16] };
const WHOLE = [[0, 0, 1, 1]];
// First column, first row, step in columns, step in rows of each pass (Adam7).
const ADAM7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
];

const CRITICAL = ["IHDR", "PLTE", "IDAT", "IEND"];

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

export function isPng(bytes) {
  return SIGNATURE.every((value, place) => bytes[place] === value);
}

/** Returns { width, height } as the file's header gives them, damaged or not; 0 for unknown. */
export function sizeOf(bytes) {
  if (bytes.length < 24) return { width: 0, height: 0 };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { width: view.getUint32(16), height: view.getUint32(20) };
}

/**
 * Returns the chunks of a PNG file that matter here; throws where the file ends too early or where
 * a chunk that the pixels need is damaged. Texts, profiles and the like are not looked at.
 */
export function readChunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = { data: [] };
  for (let at = 8; ;) {
    if (at + 12 > bytes.length) throw new Error("the file ends too early");
    const length = view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const body = bytes.subarray(at + 8, at + 8 + length);
    if (at + 12 + length > bytes.length) throw new Error("the file ends too early");
    if (!(bytes[at + 4] & 0x20)) {
      const sum = crc32(bytes.subarray(at + 4, at + 8 + length));
      if (!CRITICAL.includes(type) || sum !== view.getUint32(at + 8 + length)) {
        throw new Error("a part of it is damaged");
      }
    }
    if (type === "IHDR") found.header = readHeader(body);
    else if (type === "PLTE") found.palette = body;
    else if (type === "tRNS" && !found.data.length) found.transparency = body;
    else if (type === "eXIf") found.exif = body;
    else if (type === "IDAT") found.data.push(body);
    else if (type === "IEND") break;
    at += 12 + length;
  }
  if (!found.header) throw new Error("it has no header");
  return found;
}

let crcTable = null;

/** Returns the check sum of bytes (ISO 3309, PNG annex D). */
function crc32(bytes) {
  crcTable ??= Uint32Array.from({ length: 256 }, (_, value) => {
    let rest = value;
    for (let bit = 0; bit < 8; bit++) rest = rest & 1 ? (rest >>> 1) ^ 0xedb88320 : rest >>> 1;
    return rest;
  });
  let sum = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) sum = crcTable[(sum ^ bytes[i]) & 255] ^ (sum >>> 8);
  return ~sum >>> 0;
}

function readHeader(body) {
  if (body.length !== 13) throw new Error("its header is malformed");
  const view = new DataView(body.buffer, body.byteOffset, 13);
  const [depth, colour, compression, filtering, interlaced] = body.subarray(8);
  const header = { width: view.getUint32(0), height: view.getUint32(4), depth, colour, interlaced };
  const known = !compression && !filtering && interlaced <= 1 && DEPTHS[colour]?.includes(depth);
  if (!header.width || !header.height || !known) {
    throw new Error("its header is malformed");
  }
  return header;
}

/**
 * Decodes the pixels of a PNG file.
 *
 * Returns grey values, Float32Array of height x width: 0 to 255 from files of up to 8 bits, the
 * file's own values from files of 16.
 */
export async function decodePixels(chunks, luma) {
  const { width, height, depth, colour, interlaced } = chunks.header;
  const grey = new Float32Array(width * height);
  const bits = CHANNELS[colour] * depth;
  const rows = new RowReader(inflate(chunks.data));
  const toGrey = greyReader(chunks, luma);
  for (const [left, top, stepX, stepY] of interlaced ? ADAM7 : WHOLE) {
    const columns = Math.ceil((width - left) / stepX);
    const lines = Math.ceil((height - top) / stepY);
    if (columns <= 0 || lines <= 0) continue;
    const rowBytes = Math.ceil((columns * bits) / 8);
    let before = new Uint8Array(rowBytes);
    let row = new Uint8Array(rowBytes);
    const filter = new Uint8Array(1);
    for (let line = 0; line < lines; line++) {
      await rows.fill(filter);
      await rows.fill(row);
      unfilter(filter[0], row, before, Math.max(1, bits >> 3));
      toGrey(row, columns, grey, (top + line * stepY) * width + left, stepX);
      [before, row] = [row, before];
    }
  }
  await rows.finish();
  return grey;
}

function inflate(parts) {
  return new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
}

/** Cuts a stream of bytes into rows. */
class RowReader {
  constructor(reader) {
    this.reader = reader;
    this.rest = new Uint8Array(0);
  }

  /** Fills a row; answers at once where its bytes are here, which is nearly always. */
  fill(row) {
    if (this.rest.length < row.length) return this.fillSlowly(row);
    row.set(this.rest.subarray(0, row.length));
    this.rest = this.rest.subarray(row.length);
    return undefined;
  }

  async fillSlowly(row) {
    for (let filled = 0; filled < row.length;) {
      if (!this.rest.length) {
        const { done, value } = await this.reader.read();
        if (done) throw new Error("the file ends too early");
        this.rest = value;
      }
      const part = this.rest.subarray(0, row.length - filled);
      row.set(part, filled);
      filled += part.length;
      this.rest = this.rest.subarray(part.length);
    }
  }

  /** Reads to the end, where the check sum is. */
  async finish() {
    while (!(await this.reader.read()).done);
  }
}

function unfilter(kind, row, before, step) {
  const size = row.length;
  if (kind === 1) {
    for (let i = step; i < size; i++) row[i] += row[i - step];
  } else if (kind === 2) {
    for (let i = 0; i < size; i++) row[i] += before[i];
  } else if (kind === 3) {
    for (let i = 0; i < size; i++) row[i] += ((i < step ? 0 : row[i - step]) + before[i]) >> 1;
  } else if (kind === 4) {
    for (let i = 0; i < size; i++) {
      const a = i < step ? 0 : row[i - step];
      const b = before[i];
      const c = i < step ? 0 : before[i - step];
      const toA = Math.abs(b - c);
      const toB = Math.abs(a - c);
      const toC = Math.abs(a + b - 2 * c);
      row[i] += toA <= toB && toA <= toC ? a : toB <= toC ? b : c;
    }
  } else if (kind !== 0) {
    throw new Error(`a row has the unknown filter ${kind}`);
  }
}

/** Returns a function that turns one row of bytes into grey values. */
function greyReader({ header, palette, transparency }, luma) {
  const { depth, colour } = header;
  const read = sampleReader(depth);
  const most = 2 ** depth - 1;
  const [red, green, blue] = luma;
  const key = transparency && new DataView(transparency.buffer, transparency.byteOffset);
  let value;
  if (colour === 0) {
    const clear = transparency?.length === 2 ? key.getUint16(0) & most : -1;
    const factor = depth < 8 ? 255 / most : 1;
    value = (row, x) => {
      const sample = read(row, x);
      return sample === clear ? 0 : sample * factor;
    };
  } else if (colour === 3) {
    const table = paletteGreys(palette, transparency, luma);
    value = (row, x) => table[read(row, x)];
  } else if (colour === 4) {
    value = (row, x) => (read(row, 2 * x) * read(row, 2 * x + 1)) / most;
  } else {
    const channels = CHANNELS[colour];
    const hasKey = channels === 3 && transparency?.length === 6;
    const clear = hasKey ? [0, 2, 4].map((at) => key.getUint16(at) & most) : null;
    value = (row, x) => {
      const [r, g, b] = [0, 1, 2].map((channel) => read(row, channels * x + channel));
      if (clear && r === clear[0] && g === clear[1] && b === clear[2]) return 0;
      const grey = red * r + green * g + blue * b;
      return channels === 4 ? (grey * read(row, 4 * x + 3)) / most : grey;
    };
  }
  return (row, columns, grey, start, step) => {
    for (let x = 0; x < columns; x++) grey[start + x * step] = value(row, x);
  };
}

function sampleReader(depth) {
  if (depth === 8) return (row, place) => row[place];
  if (depth === 16) return (row, place) => (row[2 * place] << 8) | row[2 * place + 1];
  const most = 2 ** depth - 1;
  return (row, place) => {
    const bit = place * depth;
    return (row[bit >> 3] >> (8 - depth - (bit & 7))) & most;
  };
}

/** Returns the grey of each place in a palette; black where it has none. */
function paletteGreys(palette, transparency, [red, green, blue]) {
  if (!palette?.length || palette.length % 3) throw new Error("its palette is damaged");
  const table = new Float32Array(256);
  const alpha = transparency?.length <= palette.length / 3 ? transparency : [];
  for (let place = 0; 3 * place < palette.length; place++) {
    const [r, g, b] = palette.subarray(3 * place, 3 * place + 3);
    table[place] = ((red * r + green * g + blue * b) * (alpha[place] ?? 255)) / 255;
  }
  return table;
}

/** Returns the EXIF orientation, 1 to 8, that a PNG's eXIf chunk gives; 1 where it gives none. */
export function orientationOf(exif) {
  if (!exif || exif.length < 8) return 1;
  const view = new DataView(exif.buffer, exif.byteOffset, exif.byteLength);
  const little = exif[0] === 0x49;
  const start = view.getUint32(4, little);
  if (start + 2 > exif.length) return 1;
  const entries = view.getUint16(start, little);
  for (let entry = 0; entry < entries; entry++) {
    const at = start + 2 + 12 * entry;
    if (at + 12 > exif.length) return 1;
    if (view.getUint16(at, little) === 0x0112) {
      const value = view.getUint16(at + 8, little);
      return value >= 1 && value <= 8 ? value : 1;
    }
  }
  return 1;
}
