// The age distribution as an SVG, in real pixels so that its text stays readable on a phone.

import { drawAtWidth, node, text } from "./svg.js";

const HEIGHT = 200;
const MARGIN = { top: 34, right: 12, bottom: 40, left: 46 };
const LEAST_YEAR_PX = 22;

/**
 * Draws what a model says of one image, again whenever the place for it changes its width.
 *
 * prediction: { age, lower, upper, distribution }; axis: { first, step, last } in months.
 */
export function drawPlot(host, prediction, axis, title) {
  drawAtWidth(host, (width) => plot(prediction, axis, title, width));
}

function plot({ age, lower, upper, distribution }, { first, step, last }, title, width) {
  const inner = {
    width: width - MARGIN.left - MARGIN.right,
    height: HEIGHT - MARGIN.top - MARGIN.bottom,
  };
  const base = MARGIN.top + inner.height;
  const x = (months) => MARGIN.left + (inner.width * (months - first)) / (last - first);
  const most = distribution ? niceTop(100 * Math.max(...distribution)) : 1;
  const y = (percent) => base - (inner.height * percent) / most;
  const svg = node("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: "img" });
  svg.setAttribute("aria-label", title);
  if (lower !== null) {
    const left = Math.max(x(lower), MARGIN.left);
    const right = Math.min(x(upper), width - MARGIN.right);
    const size = { width: Math.max(right - left, 1), height: inner.height };
    svg.append(node("rect", { class: "band", x: left, y: MARGIN.top, ...size }));
    const middle = Math.min(
      Math.max((left + right) / 2, MARGIN.left + 40),
      width - MARGIN.right - 40,
    );
    svg.append(text("90 % interval", middle, MARGIN.top - 6, "middle", "strong"));
  }
  if (distribution) {
    const points = Array.from(distribution, (share, bin) => {
      return `${x(first + (bin + 0.5) * step).toFixed(1)},${y(100 * share).toFixed(1)}`;
    });
    const line = `${x(first)},${base} ${points.join(" ")} ${x(last)},${base}`;
    svg.append(node("polygon", { class: "curve", points: line }));
    for (const percent of [0, most / 2, most]) {
      svg.append(text(`${percent} %`, MARGIN.left - 6, y(percent) + 4, "end"));
    }
    svg.append(text(`Probability of each ${step} months`, 0, 10, "start"));
  }
  svg.append(node("line", { class: "estimate", x1: x(age), x2: x(age), y1: MARGIN.top, y2: base }));
  svg.append(
    node("line", { class: "axis", x1: MARGIN.left, x2: width - MARGIN.right, y1: base, y2: base }),
  );
  const years = yearStep(inner.width / ((last - first) / 12));
  for (let year = Math.ceil(first / 12 / years) * years; 12 * year <= last; year += years) {
    const at = x(12 * year);
    svg.append(node("line", { class: "axis", x1: at, x2: at, y1: base, y2: base + 4 }));
    svg.append(text(String(year), at, base + 17, "middle"));
  }
  svg.append(text("Bone age in years", MARGIN.left + inner.width / 2, HEIGHT - 5, "middle"));
  return svg;
}

function yearStep(yearPx) {
  return [1, 2, 4, 5, 10].find((years) => years * yearPx >= LEAST_YEAR_PX) ?? 20;
}

/** Returns the next higher round number of which half is short to write. */
function niceTop(percent) {
  return [1, 2, 4, 6, 8, 10, 20, 40, 60, 80, 100].find((top) => top >= percent) ?? 100;
}
