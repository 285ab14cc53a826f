// From the stored values of a DICOM image to grey levels, as bone_age_tf/images/dicom_photometry.py:
// stored bits, sign, modality transformation, values of interest, inversion of MONOCHROME1.

import { scaleOwnRange } from "./grey_levels.js";
import { percentile, roundedEven } from "./image.js";

const [LINEAR, LINEAR_EXACT, SIGMOID] = ["LINEAR", "LINEAR_EXACT", "SIGMOID"];
const TABLE_BITS = 16; // most bits for which the grey level of every value is tabulated
const DISPLAY_BITS = 8; // most bits of values that are grey levels themselves
const MOST_EXPONENT = 700; // beyond it a double overflows

/**
 * Reads how an image of grey values is displayed.
 *
 * Returns { bits, isSigned, isInverted, slope, intercept, modalityTable, voiTable, window }. A table
 * is { first, entries, bits }, a window { centre, width, apply }; each is null where it is missing or
 * malformed. A VOI LUT is preferred to a window, and the first of several is used.
 */
export function readPhotometry(tags) {
  const slopes = tags.numbers("RescaleSlope");
  const intercepts = tags.numbers("RescaleIntercept");
  const isSigned = tags.whole("PixelRepresentation") === 1;
  const mayBeNegative = isSigned || (slopes[0] ?? 1) < 0 || (intercepts[0] ?? 0) < 0;
  return {
    bits: tags.whole("BitsStored") || tags.whole("BitsAllocated"),
    isSigned,
    isInverted: tags.text("PhotometricInterpretation").toUpperCase() === "MONOCHROME1",
    slope: slopes[0] || 1,
    intercept: intercepts[0] ?? 0,
    modalityTable: readTable(tags, "ModalityLUTSequence", isSigned),
    voiTable: readTable(tags, "VOILUTSequence", mayBeNegative),
    window: readWindow(tags),
  };
}

function readWindow(tags) {
  const [centre] = tags.numbers("WindowCenter");
  const [width] = tags.numbers("WindowWidth");
  const kind = tags.text("VOILUTFunction").toUpperCase() || LINEAR;
  if (centre === undefined || width === undefined) return null;
  if (![LINEAR, LINEAR_EXACT, SIGMOID].includes(kind)) return null;
  if (kind === LINEAR ? width < 1 : width <= 0) return null;
  return { apply: windowFunction(kind, centre, width) };
}

/** Returns a function from a value to 0 to 1 (PS3.3, C.11.2.1.2 and C.11.2.1.3). */
function windowFunction(kind, centre, width) {
  if (kind === SIGMOID) {
    return (value) => {
      const exponent = (-4 * (value - centre)) / width;
      return 1 / (1 + Math.exp(Math.min(Math.max(exponent, -MOST_EXPONENT), MOST_EXPONENT)));
    };
  }
  const [middle, reach] = kind === LINEAR ? [centre - 0.5, width - 1] : [centre, width];
  if (reach === 0) return (value) => (value > middle ? 1 : 0); // LINEAR and a width of 1
  return (value) => Math.min(Math.max((value - middle) / reach + 0.5, 0), 1);
}

/** Returns the first table of a sequence, { first, entries, bits }, or null (PS3.3, C.11.1.1). */
function readTable(tags, sequence, mayBeNegative) {
  const [item] = tags.items(sequence);
  if (!item) return null;
  const descriptor = item.numbers("LUTDescriptor");
  let entries = item.sixteenBits("LUTData");
  if (descriptor.length !== 3 || !entries.length) return null;
  const count = descriptor[0] & 0xffff || 65_536; // 0 stands for 65,536 entries
  if (2 * entries.length === count + (count % 2)) {
    entries = entries.flatMap((word) => [word & 0xff, word >> 8]); // two entries of 8 bits in a word
  }
  let first = descriptor[1];
  // The first value is signed where values may be negative, whatever its representation says.
  if (first >= 2 ** 15 && (mayBeNegative || first + count > 2 ** 16)) first -= 2 ** 16;
  entries = entries.slice(0, count);
  return { first, entries, bits: Math.max(1, bitLength(entries)) };
}

/** Returns the bits of the largest entry; the stated number is often wrong. */
function bitLength(entries) {
  const most = entries.reduce((largest, entry) => Math.max(largest, entry), 0);
  return most.toString(2).length;
}

function lookUp({ first, entries }, value) {
  const place = roundedEven(value) - first;
  return entries[Math.min(Math.max(place, 0), entries.length - 1)];
}

function lowestOf({ isSigned, bits }) {
  return isSigned ? -(2 ** (bits - 1)) : 0;
}

/**
 * Returns the values of the stored bits, without what other bits hold, such as overlays.
 *
 * Values of a lossy compression may lie beyond the range of the bits; they are clipped, since they
 * would become black where they are brighter than white.
 */
export function keepStoredBits(stored, photometry, isLossy) {
  const span = 2 ** photometry.bits;
  const lowest = lowestOf(photometry);
  const highest = lowest + span - 1;
  if (isLossy) return stored.map((value) => Math.min(Math.max(value, lowest), highest));
  const isTabulated = photometry.bits <= TABLE_BITS;
  return stored.map((value) => {
    const kept = isTabulated ? value & (span - 1) : ((value % span) + span) % span;
    return kept > highest ? kept - span : kept;
  });
}

/**
 * Returns { pixels, notes }: the displayed image as a Float32Array, 0 to 255.
 *
 * image: { width, height, values }, values from keepStoredBits. Without a VOI LUT or window, and with
 * one in which the image has no contrast, more than 8 bits are scaled by the image's own range.
 */
export function toGrey({ width, height, values }, photometry, settings) {
  const isEmpty = (grey) => hasNoContrast(grey, width, height, settings);
  const notes = [];
  let pixels = null;
  if (photometry.voiTable || photometry.window) {
    pixels = displayed(values, photometry);
    if (isEmpty(pixels)) {
      const own = scaledByRange(values, photometry, settings);
      if (!isEmpty(own)) {
        pixels = own;
        notes.push(settings.dicom.texts.window_unusable);
      }
    }
  }
  pixels ??= scaledByRange(values, photometry, settings);
  if (photometry.isInverted) invert(pixels);
  return { pixels, notes };
}

/** Returns the grey level, 0 to 255, that a VOI LUT or window gives a stored value. */
function greyLevel(stored, { modalityTable, slope, intercept, voiTable, window }) {
  const value = modalityTable ? lookUp(modalityTable, stored) : stored * slope + intercept;
  if (voiTable) return lookUp(voiTable, value) * (255 / (2 ** voiTable.bits - 1));
  return window.apply(value) * 255;
}

function displayed(values, photometry) {
  if (photometry.bits > TABLE_BITS) {
    return Float32Array.from(values, (value) => greyLevel(value, photometry));
  }
  const lowest = lowestOf(photometry);
  const table = Float32Array.from({ length: 2 ** photometry.bits }, (_, place) =>
    greyLevel(place + lowest, photometry),
  );
  return Float32Array.from(values, (value) => table[value - lowest]);
}

/** Scales an image without a VOI transformation to 0 to 255. */
function scaledByRange(stored, photometry, settings) {
  const { modalityTable: table, slope } = photometry;
  const values = table ? stored.map((value) => lookUp(table, value)) : stored;
  const bits = table ? table.bits : photometry.bits;
  let pixels;
  if (bits <= DISPLAY_BITS) {
    const lowest = table ? 0 : lowestOf(photometry);
    pixels = Float32Array.from(values, (value) => (value - lowest) * (255 / (2 ** bits - 1)));
  } else {
    const [least, most] = rangeOf(values);
    if (bits <= TABLE_BITS) {
      pixels = Float32Array.from(values, (value) => value - least);
      scaleOwnRange(pixels, settings.far);
    } else {
      const factor = 255 / Math.max(most - least, 1);
      pixels = Float32Array.from(values, (value) => (value - least) * factor);
    }
  }
  if (!table && slope < 0) invert(pixels);
  return pixels;
}

function rangeOf(values) {
  let [least, most] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < least) least = value;
    if (value > most) most = value;
  }
  return [least, most];
}

function invert(pixels) {
  for (let i = 0; i < pixels.length; i++) pixels[i] = 255 - pixels[i];
}

function hasNoContrast(pixels, width, height, settings) {
  const step = settings.dicom.sample_step;
  const some = [];
  for (let y = 0; y < height; y += step) {
    for (let x = 0; x < width; x += step) some.push(pixels[y * width + x]);
  }
  const greys = Float32Array.from(some).sort();
  return percentile(greys, 0.99) - percentile(greys, 0.01) < settings.least_range;
}

/** Returns the grey values, 0 to 255, of red, green and blue, of which white is the largest. */
export function colourToGrey(values, white, [red, green, blue]) {
  const pixels = new Float32Array(values.length / 3);
  for (let i = 0, at = 0; i < pixels.length; i++, at += 3) {
    const sum = red * values[at] + green * values[at + 1] + blue * values[at + 2];
    pixels[i] = (sum * 255) / white;
  }
  return pixels;
}
