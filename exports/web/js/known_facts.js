// What is known about a child and a radiograph, as bone_age_tf/inference/known_facts.py.

import { general, rounded } from "./numbers.js";

export const SEX_NAMES = ["female", "male"];
const NO_STUDY = {
  study_instance_uid: null,
  series_instance_uid: null,
  sop_instance_uid: null,
};

/**
 * Returns what is known about an item of the page, which the user's choices and a file state.
 *
 * { sex, sexSource, ageMonths, heightCm, side, study, notes }: null where unknown; sex is null too
 * for a result for both sexes. ageMonths is the chronological age, heightCm that of the file.
 */
export function knownOf({ film, sexes, sexSource, ageMonths, ageSource }, settings) {
  const facts = film?.facts ?? null;
  const sex = sexes?.length === 1 ? SEX_NAMES[sexes[0]] : null;
  const { study } = facts ?? {};
  const stated = study && {
    study_instance_uid: study.study_instance_uid || null,
    series_instance_uid: study.series_instance_uid || null,
    sop_instance_uid: study.sop_instance_uid || null,
  };
  const isGiven = ageSource !== settings.clinical.from_file;
  return {
    sex,
    sexSource: sex && sexSource,
    ageMonths,
    heightCm: facts?.heightCm ?? null,
    side: facts?.side ?? null,
    study: stated ?? NO_STUDY,
    notes: facts
      ? [
          ...facts.notes,
          ...sexConflict(facts.sex, sex, settings),
          ...(isGiven ? ageConflict(facts, ageMonths, settings) : []),
        ]
      : [],
  };
}

/** Returns a note if the sex in a file is not the one that was given. */
function sexConflict(stated, given, { dicom: { texts } }) {
  if (!stated || !given || stated === given) return [];
  return [`${texts.sex_conflict}: ${stated} in the file, ${given} was given and used`];
}

/** Returns a note if the age in a file is not the one that was given. */
function ageConflict({ ageMonths: stated, ageErrorMonths }, given, { dicom: { texts }, clinical }) {
  if (stated === null || given === null) return [];
  if (Math.abs(stated - given) <= ageErrorMonths + clinical.age_rounding_months) return [];
  const words = `${rounded(stated, 0)} months in the file, ${general(given)} were given and used`;
  return [`${texts.given_age_conflict}: ${words}`];
}
