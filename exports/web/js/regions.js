// The bone age of each ossification region, as bone_age_tf/evaluation/region_norms.py compares it.

import { rounded, signed } from "./numbers.js";

/**
 * Returns { age_months, difference_months, deviations } by the name of the region; null where the
 * model does not read single regions. found: the model's outputs; sex: a name.
 */
export function compareRegions(found, norms, sex) {
  if (!norms || !found.region_ages_months) return null;
  const [months, weights] = [found.region_ages_months.data, found.region_weights.data];
  let [sum, total] = [0, 0];
  for (const [place, weight] of weights.entries()) {
    sum += weight * months[place];
    total += weight;
  }
  const hand = sum / Math.max(total, 1e-9);
  const regions = {};
  for (const [place, name] of norms.regions.entries()) {
    const [mean, sd] = [norms.mean_difference_months, norms.sd_months].map((table) =>
      between(hand, norms.knots_months, (knot) => table[sex][knot][place]),
    );
    const difference = months[place] - hand - mean;
    regions[name] = {
      age_months: months[place],
      difference_months: difference,
      deviations: difference / sd,
    };
  }
  return regions;
}

/** Returns a line for the regions that are unusually far ahead of the hand, and one for behind. */
export function regionLines(regions, { unusual, most_named: most }) {
  if (!regions) return [];
  const far = Object.entries(regions)
    .filter(([, { deviations }]) => Math.abs(deviations) >= unusual)
    .sort(([, one], [, other]) => Math.abs(other.deviations) - Math.abs(one.deviations));
  const lines = [];
  for (const [words, way] of [
    ["ahead of the hand", 1],
    ["behind the hand", -1],
  ]) {
    const chosen = far.filter(([, { deviations }]) => way * deviations > 0);
    const texts = chosen.slice(0, most).map(([name, one]) => {
      const difference = `${signed(one.difference_months, 0)} from usual`;
      const deviations = `${rounded(Math.abs(one.deviations), 1)} SD`;
      return `${name} ${rounded(one.age_months, 0)} months (${difference}, ${deviations})`;
    });
    if (chosen.length > most) texts.push(`and ${chosen.length - most} more`);
    if (texts.length) lines.push(`${words}: ${texts.join(", ")}`);
  }
  const count = Object.keys(regions).length;
  return lines.length ? lines : [`no region is unusually far ahead or behind (n = ${count})`];
}

/** Interpolates linearly between knots; beyond them the value is that of the nearest. */
function between(at, knots, valueOf) {
  const last = knots.length - 1;
  const above = knots.findIndex((knot) => knot >= at);
  if (above === 0) return valueOf(0);
  if (above < 0) return valueOf(last);
  const share = (at - knots[above - 1]) / (knots[above] - knots[above - 1]);
  return (1 - share) * valueOf(above - 1) + share * valueOf(above);
}
