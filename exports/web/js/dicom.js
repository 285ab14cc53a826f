// DICOM files to radiographs, as bone_age_tf/images/dicom.py. Loaded with the first DICOM file.

import { isOwnResult, readAspect, readFacts, readSpacing } from "./dicom_facts.js";
import { openDicom } from "./dicom_file.js";
import { colourToGrey, keepStoredBits, readPhotometry, toGrey } from "./dicom_photometry.js";
import { decodePixels, readLayout } from "./dicom_pixels.js";
import { ImageError } from "./errors.js";
import { resized, roundedEven } from "./image.js";

/**
 * Reads the radiograph in a DICOM file.
 *
 * Images with other than square pixels are enlarged in one direction. Overlays, presentation states
 * and the patient's name and number are not read.
 *
 * @param {Uint8Array} bytes the file
 * @param {object} settings the page's settings.json
 * @returns {Promise<object>} { width, height, pixels, facts }: pixels a Float32Array, 0 to 255, as a
 *   viewer displays them; facts, see readFacts, with spacingMm, the distance of the pixels' centres
 *   in millimetres, rows first, or null
 * @throws {ImageError} the file is damaged, shows no radiograph or cannot be decoded
 */
export async function readDicom(bytes, settings) {
  const file = await openDicom(bytes, settings);
  const { tags } = file;
  refuseOtherObjects(file, settings.dicom);
  const layout = readLayout(file, settings);
  const facts = readFacts(tags, settings);
  const photometry = readPhotometry(tags);
  const decoded = await decodePixels(file, layout, settings);
  const { pixels, notes } = greyOf(decoded, layout, photometry, settings);
  const grey = { width: layout.width, height: layout.height, pixels };
  const image = withSquarePixels(grey, readAspect(tags, settings.dicom), settings.dicom);
  const spacing = readSpacing(tags);
  const spacingMm = spacing && [
    (spacing[0] * grey.height) / image.height,
    (spacing[1] * grey.width) / image.width,
  ];
  return { ...image, facts: { ...facts, spacingMm, notes: [...facts.notes, ...notes] } };
}

/** Throws an error for a file that is no radiograph, by what it states. */
function refuseOtherObjects({ tags, isTruncated, hasHeader }, dicom) {
  const { texts, modalities } = dicom;
  const sopClass = tags.text("SOPClassUID");
  const modality = tags.text("Modality").toUpperCase();
  if (tags.has("DirectoryRecordSequence") || sopClass === dicom.directory_class) {
    throw new ImageError(texts.dicom_directory);
  }
  if (isOwnResult(tags, dicom)) throw new ImageError(texts.own_result);
  if (modality && !modalities.includes(modality)) {
    const known = `${modalities.slice(0, -1).join(", ")} and ${modalities.at(-1)}`;
    throw new ImageError(`${texts.wrong_modality} ${modality}; ${known} are read`);
  }
  if (tags.has("PixelData") && !isTruncated) return;
  if (!modality && !sopClass && !tags.has("Rows") && !hasHeader) {
    throw new ImageError(texts.not_dicom);
  }
  throw new ImageError(isTruncated ? texts.pixel_data_truncated : texts.no_pixel_data);
}

/** Returns { pixels, notes } of decoded values. */
function greyOf(decoded, layout, photometry, settings) {
  const { values, channels, white } = decoded;
  if (channels === 3) {
    // A palette states its white; other colours are cut to the stored bits first.
    const kept = white ? values : keepStoredBits(values, photometry, layout.isLossy);
    const most = white || 2 ** photometry.bits - 1;
    return { pixels: colourToGrey(kept, most, settings.luma), notes: [] };
  }
  const kept = keepStoredBits(values, photometry, layout.isLossy);
  return toGrey({ width: layout.width, height: layout.height, values: kept }, photometry, settings);
}

/** Enlarges an image whose pixels are aspect times as high as wide. */
function withSquarePixels(image, aspect, { least_aspect_change: least }) {
  if (Math.abs(aspect - 1) < least) return image;
  if (aspect > 1) return resized(image, roundedEven(image.height * aspect), image.width);
  return resized(image, image.height, roundedEven(image.width / aspect));
}
