// Results as rows, words and CSV, as bone-age predict writes them.

import { measuresOf } from "./clinical.js";
import { knownOf, SEX_NAMES } from "./known_facts.js";
import { inYears, rounded } from "./numbers.js";

/**
 * Returns { status, reasons } of predictions: rejected where the image is outside the distribution of
 * the training images. film: { status, reason } of what was read; predictions: by sex code.
 */
export function judge(film, predictions, settings) {
  if (film.status !== "ok") return { status: film.status, reasons: [film.reason] };
  const far = Math.max(0, ...predictions.map(({ unfamiliarity }) => unfamiliarity ?? 0));
  const isWhole = film.corrections?.includes(settings.frame?.not_framed);
  const limit = isWhole ? settings.whole_limit : 1;
  if (settings.refuses_unfamiliar && far > limit) {
    const distance = `(distance ${rounded(far, 2)}, limit ${rounded(limit, 2)})`;
    return { status: "rejected", reasons: [`${settings.texts.unfamiliar} ${distance}`] };
  }
  return { status: "ok", reasons: [] };
}

/** Returns what was corrected, in words; empty if nothing was. */
function correctionText({ corrections = [] }, { texts, separator }) {
  return corrections.length ? `${texts.corrected} ${corrections.join(separator)}` : "";
}

/** Returns reasons, corrections and notes of an item as texts, without those of a prediction. */
export function notesOf({ film, verdict }, known, settings) {
  const corrected = verdict.status === "ok" ? correctionText(film, settings) : "";
  return [...verdict.reasons, corrected, ...known.notes].filter(Boolean);
}

/** Returns an object for each row of one case, with the texts of the columns that have one. */
function cellsOf(item, settings) {
  const { name, sexes, verdict, predictions } = item;
  const known = knownOf(item, settings);
  const notes = notesOf(item, known, settings);
  const shared = {
    image: name,
    status: verdict.status,
    side: known.side,
    sex_source: known.sexSource,
    chronological_age_months: number(known.ageMonths, 1),
    height_cm: number(known.heightCm, 1),
    ...known.study,
  };
  if (verdict.status !== "ok") return [{ ...shared, sex: known.sex, reason: notes.join("; ") }];
  const both = sexes.length > 1 ? [settings.both_sexes] : [];
  return predictions.map((prediction, place) => {
    const sex = SEX_NAMES[sexes[place]];
    const { score, height, refusals } = measuresOf(prediction, sex, known, settings.clinical);
    return {
      ...shared,
      sex,
      bone_age_months: number(prediction.age, 1),
      lower_90: number(prediction.lower, 1),
      upper_90: number(prediction.upper, 1),
      reason: [...both, ...notes, ...refusals].join("; "),
      sds: number(score?.sds, 2),
      sds_reference: score?.reference,
      assessment: score?.assessment,
      adult_height_cm: number(height?.height_cm, 1),
      adult_height_error_cm: number(height?.error_cm, 1),
    };
  });
}

function number(value, digits) {
  return value === null || value === undefined ? "" : rounded(value, digits);
}

/** Returns the rows of one case, each with the texts of the settings' columns. */
export function rowsOf(item, settings) {
  if (!item.verdict) return [];
  return cellsOf(item, settings).map((cells) =>
    settings.columns.map((column) => cells[column] ?? ""),
  );
}

/** Writes rows as CSV. */
export function toCsv(rows, settings) {
  // An apostrophe before what a spreadsheet would run as a formula, as bone_age_tf/csv_text.py does.
  const isFormula = (text) => /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text));
  const safe = (text) => (isFormula(text) ? `'${text}` : text);
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const line = (row) => `${row.map((text) => quoted(safe(text))).join(",")}\n`;
  return [settings.columns, ...rows].map(line).join("");
}

/** Writes the answers of one case as sentences. */
export function inWords(item, settings) {
  const { name, verdict, predictions, sexes } = item;
  const known = knownOf(item, settings);
  const notes = notesOf(item, known, settings);
  if (verdict.status !== "ok") return `${name}  ${verdict.status}: ${notes.join("; ")}`;
  const lines = predictions.map((prediction, place) => {
    const sex = SEX_NAMES[sexes[place]];
    const { age, lower, upper } = prediction;
    const interval =
      lower === null ? "" : `, 90 % interval ${rounded(lower, 1)} to ${rounded(upper, 1)}`;
    const { summaries } = measuresOf(prediction, sex, known, settings.clinical);
    const answer = `${name}  ${sex}  bone age ${rounded(age, 1)} months (${inYears(age)})${interval}`;
    return [answer, ...summaries, ...notes].join("; ");
  });
  return lines.join("\n");
}
