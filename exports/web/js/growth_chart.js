// A chart of bone age against chronological age, as bone_age_tf/clinical/growth_chart.py.
//
// The band is the chronological age plus and minus 2 SD, so that a point is outside the band exactly
// if its standard deviation score says delayed or advanced.

import { inYears } from "./numbers.js";
import { drawAtWidth, node, text } from "./svg.js";

const MOST_WIDTH = 420;
const MARGIN = { top: 10, right: 12, bottom: 36, left: 40 };
const [LAST_AGE, LAST_BONE_AGE] = [18, 20]; // years
const MARKER_PX = 5;

/**
 * Draws the chart of one child.
 *
 * study: { age, boneAge, lower, upper } in months, age the chronological one; lower and upper may be
 * null. summary: the score in words.
 */
export function drawGrowthChart(host, study, sex, summary, clinical) {
  drawAtWidth(host, (width) => chart(study, sex, summary, clinical, Math.min(width, MOST_WIDTH)));
}

function chart(study, sex, summary, clinical, width) {
  const { age, boneAge, lower, upper } = study;
  const lastAge = evenYears(Math.max(LAST_AGE, age / 12));
  const lastBoneAge = evenYears(Math.max(LAST_BONE_AGE, boneAge / 12, (upper ?? 0) / 12));
  const yearPx = (width - MARGIN.left - MARGIN.right) / lastAge; // the same on both axes
  const height = Math.round(MARGIN.top + MARGIN.bottom + lastBoneAge * yearPx);
  const x = (months) => MARGIN.left + (months / 12) * yearPx;
  const y = (months) => height - MARGIN.bottom - (months / 12) * yearPx;
  const words = `Bone age ${inYears(boneAge)} at the chronological age of ${inYears(age)}: ${summary}`;
  const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
  svg.setAttribute("aria-label", words);
  svg.append(...grid(lastAge, lastBoneAge, x, y));
  svg.append(...range(sex, clinical, x, y));
  if (lower !== null) {
    svg.append(
      node("line", { class: "interval", x1: x(age), x2: x(age), y1: y(lower), y2: y(upper) }),
    );
    for (const end of [lower, upper]) {
      const [x1, x2] = [x(age) - MARKER_PX, x(age) + MARKER_PX];
      svg.append(node("line", { class: "interval", x1, x2, y1: y(end), y2: y(end) }));
    }
  }
  svg.append(node("circle", { class: "study", cx: x(age), cy: y(boneAge), r: MARKER_PX }));
  const middle = (MARGIN.left + width - MARGIN.right) / 2;
  svg.append(text("Chronological age in years", middle, height - 4, "middle"));
  const left = text("Bone age in years", 12, y(6 * lastBoneAge), "middle");
  left.setAttribute("transform", `rotate(-90 12 ${y(6 * lastBoneAge)})`);
  svg.append(left);
  return svg;
}

function evenYears(years) {
  return 2 * Math.ceil(years / 2);
}

function grid(lastAge, lastBoneAge, x, y) {
  const parts = [];
  for (let year = 0; year <= lastAge; year += 2) {
    const at = x(12 * year);
    parts.push(node("line", { class: "grid", x1: at, x2: at, y1: y(0), y2: y(12 * lastBoneAge) }));
    parts.push(text(String(year), at, y(0) + 15, "middle"));
  }
  for (let year = 0; year <= lastBoneAge; year += 2) {
    const at = y(12 * year);
    parts.push(node("line", { class: "grid", x1: x(0), x2: x(12 * lastAge), y1: at, y2: at }));
    parts.push(text(String(year), x(0) - 6, at + 4, "end"));
  }
  return parts;
}

/** Draws the normal range, the line of equal ages and the mean of the reference. */
function range(sex, clinical, x, y) {
  const { sd_months: sds, mean_months: means } = clinical.references[clinical.reference];
  const [ages, values] = sds[sex];
  const edge = (sign) =>
    ages.map((age, i) => point(x(age), y(age + sign * clinical.normal_sds * values[i])));
  const equal = ages.map((age) => point(x(age), y(age))).join(" ");
  const parts = [
    node("polygon", { class: "band", points: [...edge(-1), ...edge(1).reverse()].join(" ") }),
    node("polyline", { class: "equal", points: equal }),
  ];
  if (means[sex]) {
    const [places, months] = means[sex];
    const points = places.map((age, i) => point(x(age), y(months[i]))).join(" ");
    parts.push(node("polyline", { class: "mean", points }));
  }
  return parts;
}

function point(x, y) {
  return `${x.toFixed(1)},${y.toFixed(1)}`;
}
