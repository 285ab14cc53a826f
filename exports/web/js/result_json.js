// Results as JSON objects, as bone_age_tf/clinical/result_json.py and its schema.

import { measuresOf } from "./clinical.js";
import { knownOf, SEX_NAMES } from "./known_facts.js";

/** Returns the object of one case. Numbers are not rounded; what is unknown is null. */
export function toJsonObject(item, { settings, metadata }) {
  const { film, verdict, predictions, sexes } = item;
  const known = knownOf(item, settings);
  const isOk = verdict.status === "ok";
  return {
    format: settings.clinical.format,
    image: item.name,
    sex: known.sex,
    status: verdict.status,
    side: known.side,
    sex_source: known.sexSource,
    chronological_age_months: known.ageMonths,
    height_cm: known.heightCm,
    ...known.study,
    reasons: verdict.reasons,
    corrections: film.corrections ?? [],
    notes: known.notes,
    quality_checked: film.isChecked ?? false,
    model: `${metadata.name} version ${metadata.version}, ${settings.variant}`,
    predictions: isOk
      ? predictions.map((each, place) =>
          predictionOf(each, SEX_NAMES[sexes[place]], known, settings),
        )
      : [],
  };
}

function predictionOf(prediction, sex, known, { clinical }) {
  const { score, scores, height } = measuresOf(prediction, sex, known, clinical);
  return {
    sex,
    bone_age_months: prediction.age,
    lower_90: prediction.lower,
    upper_90: prediction.upper,
    sds: score?.sds ?? null,
    sds_reference: score?.reference ?? null,
    assessment: score?.assessment ?? null,
    adult_height_cm: height?.height_cm ?? null,
    adult_height_error_cm: height?.error_cm ?? null,
    unfamiliarity: prediction.unfamiliarity,
    region_ages_months: prediction.regions,
    standard_deviation_scores: scores,
    adult_height: height,
  };
}
