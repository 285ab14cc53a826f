// Standard deviation scores and adult heights, as bone_age_tf/clinical, with its tables.
//
// A curve is [places, values]: straight lines between increasing places, nothing outside of them.

import { general, rounded, signed } from "./numbers.js";

/** Returns the interpolated value of a curve; null outside its places. */
export function valueAt([places, values], place) {
  if (!(place >= places[0] && place <= places.at(-1))) return null;
  const after = Math.max(
    1,
    places.findIndex((each) => each >= place),
  );
  const [from, to] = [places[after - 1], places[after]];
  const share = (place - from) / (to - from);
  return values[after - 1] + (values[after] - values[after - 1]) * share;
}

/** Returns the reason why there is no value for an age outside a table, as outside_table in Python. */
function outsideTable(what, months, [places], whose) {
  const range = `${general(places[0])} to ${general(places.at(-1))} months`;
  return `${what} ${general(months)} months is outside the table, which covers ${range} (${whose})`;
}

/**
 * Scores a bone age.
 *
 * Returns { sds, sd_months, assessment, reference, reference_name, reason }, as
 * StandardDeviationScore in Python: null values and a reason outside the reference's table. Ages are
 * in months; sex is female or male.
 */
export function standardDeviationScore(boneAge, age, sex, reference, clinical) {
  const { name, sd_months: curves } = clinical.references[reference];
  const shared = { reference, reference_name: name };
  const sd = valueAt(curves[sex], age);
  if (sd === null) {
    const reason = outsideTable("chronological age", age, curves[sex], `${sex}, ${name}`);
    return { sds: null, sd_months: null, assessment: null, ...shared, reason };
  }
  const sds = (possibleAge(boneAge, clinical) - age) / sd;
  const { normal_sds: reach, delayed, normal, advanced } = clinical;
  const assessment = sds < -reach ? delayed : sds > reach ? advanced : normal;
  return { sds, sd_months: sd, assessment, ...shared, reason: "" };
}

/** Returns the score with its reference as a text, or the reason why there is none. */
export function scoreSummary({ sds, sd_months: sd, assessment, reference_name: name, reason }) {
  if (sds === null) return `no standard deviation score: ${reason}`;
  return `${assessment}, ${signed(sds, 1)} SD (SD ${rounded(sd, 1)} months, ${name})`;
}

/**
 * Predicts the adult height by Bayley and Pinneau.
 *
 * Returns { height_cm, error_cm, group, percent_of_adult_height, source, reason }, as AdultHeight in
 * Python: null values and a reason outside the table.
 */
export function adultHeight(heightCm, boneAge, age, sex, clinical) {
  const {
    percent: curves,
    error_cm: errors,
    group_months: least,
    groups,
    source,
  } = clinical.adult_height;
  const months = possibleAge(boneAge, clinical);
  const [average, accelerated, retarded] = groups;
  const difference = months - age;
  const group = difference >= least ? accelerated : difference <= -least ? retarded : average;
  const curve = curves[sex][group];
  const percent = valueAt(curve, months);
  if (percent === null) {
    const whose = `${sex}, bone age ${group}, Bayley and Pinneau 1952`;
    const reason = outsideTable("bone age", months, curve, whose);
    const none = { height_cm: null, error_cm: null, group, percent_of_adult_height: null };
    return { ...none, source, reason };
  }
  return {
    height_cm: heightCm / (percent / 100),
    error_cm: valueAt(errors[sex], age),
    group,
    percent_of_adult_height: percent,
    source,
    reason: "",
  };
}

/** Returns a bone age in months; a network's small negative number becomes 0. */
function possibleAge(months, { oldest_months: oldest }) {
  return Math.min(Math.max(months, 0), oldest);
}

/**
 * Returns the clinical measures of one prediction, { scores, score, height, summaries, refusals }.
 *
 * scores are by all references, empty without a chronological age; score is that by the page's
 * reference, or null; height the adult height, or null; summaries say all of it in words; refusals
 * why there is no score or no adult height.
 */
export function measuresOf({ age: boneAge }, sex, { ageMonths, heightCm }, clinical) {
  const names = ageMonths === null ? [] : Object.keys(clinical.references);
  const scores = names.map((name) =>
    standardDeviationScore(boneAge, ageMonths, sex, name, clinical),
  );
  const score = scores.find(({ reference }) => reference === clinical.reference) ?? null;
  const isKnown = ageMonths !== null && heightCm !== null;
  const height = isKnown ? adultHeight(heightCm, boneAge, ageMonths, sex, clinical) : null;
  const heightText = heightCm === null ? "" : heightSummary(height, heightCm, clinical);
  const summary = score ? scoreSummary(score) : "";
  return {
    scores,
    score,
    height,
    summaries: [summary, heightText].filter(Boolean),
    refusals: [
      score?.sds === null ? summary : "",
      height?.height_cm == null ? heightText : "",
    ].filter(Boolean),
  };
}

/** Returns the adult height with its error, or why there is none. */
function heightSummary(height, heightCm, { adult_height: texts }) {
  if (!height) return `${texts.no_adult_height} ${texts.age_unknown}`;
  if (height.height_cm === null) return `${texts.no_adult_height} ${height.reason}`;
  const error =
    height.error_cm === null ? "" : `SD of the error ${rounded(height.error_cm, 1)} cm, `;
  return (
    `adult height ${rounded(height.height_cm, 1)} cm from ${rounded(heightCm, 1)} cm ` +
    `(${error}${height.group}, ${height.source})`
  );
}
