// Typed access to the attributes of a DICOM file, as bone_age_tf/images/dicom_tags.py.
//
// dicom-parser finds the elements; it knows no dictionary, so that tags and value representations
// (DICOM PS3.6) are listed here.

export const KEYWORDS = {
  SOPClassUID: ["00080016", "UI"],
  SOPInstanceUID: ["00080018", "UI"],
  StudyDate: ["00080020", "DA"],
  SeriesDate: ["00080021", "DA"],
  AcquisitionDate: ["00080022", "DA"],
  AcquisitionDateTime: ["0008002a", "DT"],
  Modality: ["00080060", "CS"],
  PresentationIntentType: ["00080068", "CS"],
  Manufacturer: ["00080070", "LO"],
  CodeValue: ["00080100", "SH"],
  CodingSchemeDesignator: ["00080102", "SH"],
  ProcedureCodeSequence: ["00081032", "SQ"],
  SeriesDescription: ["0008103e", "LO"],
  ManufacturerModelName: ["00081090", "LO"],
  PatientBirthDate: ["00100030", "DA"],
  PatientSex: ["00100040", "CS"],
  PatientAge: ["00101010", "AS"],
  PatientSize: ["00101020", "DS"],
  ImagerPixelSpacing: ["00181164", "DS"],
  SoftwareVersions: ["00181020", "LO"],
  NominalScannedPixelSpacing: ["00182010", "DS"],
  StudyInstanceUID: ["0020000d", "UI"],
  SeriesInstanceUID: ["0020000e", "UI"],
  Laterality: ["00200060", "CS"],
  ImageLaterality: ["00200062", "CS"],
  SamplesPerPixel: ["00280002", "US"],
  PhotometricInterpretation: ["00280004", "CS"],
  PlanarConfiguration: ["00280006", "US"],
  NumberOfFrames: ["00280008", "IS"],
  Rows: ["00280010", "US"],
  Columns: ["00280011", "US"],
  PixelSpacing: ["00280030", "DS"],
  PixelAspectRatio: ["00280034", "IS"],
  BitsAllocated: ["00280100", "US"],
  BitsStored: ["00280101", "US"],
  HighBit: ["00280102", "US"],
  PixelRepresentation: ["00280103", "US"],
  WindowCenter: ["00281050", "DS"],
  WindowWidth: ["00281051", "DS"],
  RescaleIntercept: ["00281052", "DS"],
  RescaleSlope: ["00281053", "DS"],
  VOILUTFunction: ["00281056", "CS"],
  RedPaletteColorLookupTableDescriptor: ["00281101", "US"],
  GreenPaletteColorLookupTableDescriptor: ["00281102", "US"],
  BluePaletteColorLookupTableDescriptor: ["00281103", "US"],
  RedPaletteColorLookupTableData: ["00281201", "OW"],
  GreenPaletteColorLookupTableData: ["00281202", "OW"],
  BluePaletteColorLookupTableData: ["00281203", "OW"],
  ModalityLUTSequence: ["00283000", "SQ"],
  LUTDescriptor: ["00283002", "US"],
  LUTData: ["00283006", "OW"],
  VOILUTSequence: ["00283010", "SQ"],
  RequestedProcedureCodeSequence: ["00321064", "SQ"],
  PerformedProtocolCodeSequence: ["00400260", "SQ"],
  ScheduledProtocolCodeSequence: ["00400008", "SQ"],
  RequestAttributesSequence: ["00400275", "SQ"],
  DirectoryRecordSequence: ["00041220", "SQ"],
  PixelData: ["7fe00010", "OW"],
};

const BINARY = {
  US: [2, "getUint16"],
  SS: [2, "getInt16"],
  UL: [4, "getUint32"],
  SL: [4, "getInt32"],
};
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
const SEQUENCES = new Set(
  Object.values(KEYWORDS).flatMap(([tag, vr]) => (vr === "SQ" ? [`x${tag}`] : [])),
);

/** Returns SQ for the tags of known sequences, for files with implicit value representations. */
export function representationOf(tag) {
  return SEQUENCES.has(tag) ? "SQ" : undefined;
}

/** Reads attributes; a missing or malformed value is an empty one. */
export class Tags {
  /** @param {object} dataSet of dicom-parser; @param {boolean} isLittleEndian byte order of words */
  constructor(dataSet, isLittleEndian) {
    this.dataSet = dataSet;
    this.isLittleEndian = isLittleEndian;
  }

  element(keyword) {
    return this.dataSet.elements[`x${KEYWORDS[keyword][0]}`];
  }

  /** Says whether the file has an attribute, also an empty one. */
  has(keyword) {
    return this.element(keyword) !== undefined;
  }

  /** Returns the bytes of a value; empty if there is none. */
  raw(keyword) {
    const element = this.element(keyword);
    if (!element) return new Uint8Array();
    const { dataOffset, length } = element;
    return this.dataSet.byteArray.subarray(dataOffset, dataOffset + length);
  }

  /** Returns all values as texts. */
  words(keyword) {
    const text = String.fromCharCode(...this.raw(keyword).subarray(0, 4096));
    if (/^[ \0]*$/.test(text)) return [];
    return text.split("\\").map((word) => word.replace(/^[ \0]+|[ \0]+$/g, ""));
  }

  /** Returns the first value as a text. */
  text(keyword) {
    return this.words(keyword)[0] ?? "";
  }

  /** Returns the values as numbers; empty if one of them is not a finite number. */
  numbers(keyword) {
    const stated = this.element(keyword)?.vr;
    const representation = stated && stated !== "UN" ? stated : KEYWORDS[keyword][1];
    if (representation in BINARY) return this.binary(keyword, ...BINARY[representation]);
    const words = this.words(keyword);
    const numbers = words.map((word) => (NUMBER.test(word) ? Number(word) : NaN));
    return numbers.every(Number.isFinite) ? numbers : [];
  }

  binary(keyword, size, getter) {
    const bytes = this.raw(keyword);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const count = Math.floor(bytes.byteLength / size);
    return Array.from({ length: count }, (_, i) => view[getter](i * size, this.isLittleEndian));
  }

  /** Returns the words of 16 bits of a value. */
  sixteenBits(keyword) {
    return this.binary(keyword, 2, "getUint16");
  }

  /** Returns the first value as a whole number. */
  whole(keyword, otherwise = 0) {
    const [number] = this.numbers(keyword);
    return number === undefined ? otherwise : Math.trunc(number);
  }

  /** Returns a complete and valid date as days since 1970 and its text, { days, text }, or null. */
  date(keyword) {
    const match = /^(\d{4})(\d{2})(\d{2})/.exec(this.text(keyword).replaceAll(".", ""));
    if (!match) return null;
    const [year, month, day] = match.slice(1).map(Number);
    const time = new Date(Date.UTC(year, month - 1, day));
    if (year < 100 || time.getUTCMonth() !== month - 1 || time.getUTCDate() !== day) return null;
    return { days: time.getTime() / 86_400_000, text: match.slice(1).join("-") };
  }

  /** Returns the items of a sequence. */
  items(keyword) {
    const items = this.element(keyword)?.items ?? [];
    return items
      .filter(({ dataSet }) => dataSet)
      .map(({ dataSet }) => new Tags(dataSet, this.isLittleEndian));
  }
}
