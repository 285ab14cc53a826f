// What a DICOM file states beside its pixels, as bone_age_tf/images/dicom_facts.py.

import { rounded } from "./numbers.js";

const LEFT_OUT = { value: null, notes: [] };

/**
 * Reads what a file states about a radiograph.
 *
 * Returns { study, sex, ageMonths, ageErrorMonths, side, heightCm, notes }: sex female, male or
 * null; ageMonths the chronological age in months when the radiograph was taken, or null, and how
 * far the true age can be from it; side left, right or null; heightCm in cm or null; study the
 * identifiers of the DICOM object; notes what the user should know, in words.
 */
export function readFacts(tags, settings) {
  const { texts, sexes } = settings.dicom;
  const side = readSide(tags, settings.dicom);
  const age = readAge(tags, settings.dicom);
  const height = readHeight(tags, settings.dicom);
  const intent = tags.text("PresentationIntentType").toUpperCase();
  return {
    study: {
      study_instance_uid: tags.text("StudyInstanceUID"),
      series_instance_uid: tags.text("SeriesInstanceUID"),
      sop_instance_uid: tags.text("SOPInstanceUID"),
      sop_class_uid: tags.text("SOPClassUID"),
    },
    sex: sexes[tags.text("PatientSex").toUpperCase()] ?? null,
    ageMonths: age.value,
    ageErrorMonths: age.errorMonths ?? 0,
    side: side.value,
    heightCm: height.value,
    notes: [
      ...(intent === "FOR PROCESSING" ? [texts.for_processing] : []),
      ...side.notes,
      ...age.notes,
      ...height.notes,
    ],
  };
}

/** Says whether a file is a result of this project that was sent back. */
export function isOwnResult(tags, { own_name: name, own_marks: keywords }) {
  const marks = [
    ...keywords.map((keyword) => tags.text(keyword)),
    ...tags.words("SoftwareVersions"),
  ];
  return marks.some((mark) => mark.toLowerCase().replaceAll("-", "_").includes(name));
}

function readSide(tags, { sides, study_codes: codes, texts }) {
  const stated = [];
  for (const name of ["ImageLaterality", "Laterality"]) {
    const side = sides[tags.text(name).toUpperCase()];
    if (side) stated.push([name, side]);
  }
  for (const code of studyCodes(tags)) {
    if (codes[code]) stated.push([`study code ${code}`, codes[code]]);
  }
  const unique = new Map(stated);
  const values = new Set(unique.values());
  if (values.size > 1) {
    const words = [...unique].map((each) => each.join(" ")).join(", ");
    return { value: null, notes: [`${texts.side_conflict}: ${words}`] };
  }
  const [value = null] = values;
  return { value, notes: value === sides.R ? [texts.right_hand] : [] };
}

const CODE_SEQUENCES = [
  "ProcedureCodeSequence",
  "RequestedProcedureCodeSequence",
  "PerformedProtocolCodeSequence",
  "ScheduledProtocolCodeSequence",
];

/** Returns the LOINC codes of the study and of its request. */
function studyCodes(tags) {
  const holders = [tags, ...tags.items("RequestAttributesSequence")];
  return holders
    .flatMap((holder) => CODE_SEQUENCES.flatMap((sequence) => holder.items(sequence)))
    .filter((code) => ["LN", "LOINC"].includes(code.text("CodingSchemeDesignator").toUpperCase()))
    .map((code) => code.text("CodeValue"));
}

function readAge(tags, dicom) {
  const { texts, month_days: monthDays, oldest_months: oldest } = dicom;
  const written = tags.text("PatientAge");
  const stated = statedAge(written.toUpperCase(), dicom);
  const birth = tags.date("PatientBirthDate");
  const taken = dateTaken(tags, dicom);
  const notes = [];
  if (birth && taken) {
    const age = (taken.days - birth.days) / monthDays;
    if (age >= 0 && age < oldest) {
      if (stated && !(stated.completed - 12 <= age && age <= stated.completed + stated.unit + 12)) {
        notes.push(`${texts.age_conflict}: ${written}, ${rounded(age, 0)} months`);
      }
      return { value: age, errorMonths: 0, notes };
    }
    notes.push(`${texts.birth_date_unusable} ${birth.text}`);
  }
  if (!stated) return { value: null, errorMonths: 0, notes };
  const half = stated.unit / 2;
  notes.push(`${texts.age_stated} ${written}, exact to ${Number(half.toPrecision(2))} months`);
  return { value: stated.completed + half, errorMonths: half, notes };
}

/** Returns { completed, unit } of a PatientAge, both in months, or null. */
function statedAge(text, { age_units_months: units, oldest_months: oldest }) {
  const match = /^(\d{1,3})([YMWD])$/.exec(text);
  if (!match) return null;
  const unit = units[match[2]];
  const completed = Number(match[1]) * unit;
  return completed < oldest ? { completed, unit } : null;
}

function dateTaken(tags, { dates }) {
  return dates.map((keyword) => tags.date(keyword)).find(Boolean) ?? null;
}

function readHeight(tags, dicom) {
  const { texts, least_height_cm: least, most_height_cm: most } = dicom;
  const [metres = 0] = tags.numbers("PatientSize");
  if (metres <= 0) return LEFT_OUT;
  const value = Number(rounded(metres * 100, 1));
  if (value < least || value > most) {
    const words = `${Number(metres.toPrecision(6))} m is not the height of a child`;
    return { value: null, notes: [`${texts.height_unusable} ${words}`] };
  }
  const began = tags.date("StudyDate");
  if (!began || began.days !== dateTaken(tags, dicom)?.days) {
    const words = "it may be of another day than the radiograph";
    return { value: null, notes: [`${texts.height_unusable} ${words}`] };
  }
  return { value, notes: [] };
}

/** Returns PixelSpacing in millimetres, rows first, or null. */
export function readSpacing(tags) {
  return positivePair(tags, "PixelSpacing");
}

/** Returns the height of a pixel divided by its width; 1 where unknown or implausible. */
export function readAspect(tags, { most_aspect: most }) {
  for (const keyword of [
    "PixelSpacing",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "PixelAspectRatio",
  ]) {
    const pair = positivePair(tags, keyword);
    if (pair) {
      const aspect = pair[0] / pair[1];
      return aspect >= 1 / most && aspect <= most ? aspect : 1;
    }
  }
  return 1;
}

function positivePair(tags, keyword) {
  const numbers = tags.numbers(keyword);
  return numbers.length === 2 && Math.min(...numbers) > 0 ? numbers : null;
}
