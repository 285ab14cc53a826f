// A look at each film before its bone age is read, as bone_age_tf/inference/film_check.py.

import { fit, trimBlack, turned } from "./image.js";

/**
 * Refuses a film or puts it right.
 *
 * ask takes the pixels of a square and returns { film_kind, film_pose, film_inverted }; where it is
 * null, films are not checked. Returns { image, reason }: the film, null where it is refused, and
 * why, or what was put right.
 */
export async function look(film, check, settings, ask) {
  const image = trimBlack(film, settings);
  const { width, height } = image;
  if (Math.min(width, height) < settings.least_side_px) {
    const isCut = width !== film.width || height !== film.height;
    const cut = isCut ? " without the black edges" : "";
    const needs = `the shorter side needs ${settings.least_side_px} or more`;
    return { image: null, reason: `too small: ${width} x ${height} px${cut}; ${needs}` };
  }
  const [low, high] = levels(image, settings.levels_side_px);
  if (high - low < settings.least_range) {
    return { image: null, reason: "blank: there is no contrast in it" };
  }
  const { square } = fit(image, check.size_px, check.resize, settings);
  const said = await ask(square.pixels);
  if (said.film_kind[0] < check.hand_threshold) {
    return { image: null, reason: settings.refusals[check.kinds[largest(said.film_kind)]] };
  }
  const likely = largest(said.film_pose);
  const pose = said.film_pose[likely] > settings.sure ? likely : 0;
  const inverted = said.film_inverted[0] > settings.sure;
  if (!pose && !inverted) return { image, reason: "" };
  const words = [...(pose ? [check.poses[pose]] : []), ...(inverted ? ["inverted"] : [])];
  const reason = `put right: the film was ${words.join(" and ")}`;
  return { image: putRight(image, pose, inverted), reason };
}

/** Returns the image upright, a left hand and with bright bones. */
export function putRight(image, pose, inverted) {
  const quarter = pose % 4;
  const transpose = quarter === 1 || quarter === 3;
  const mirror = quarter === 1 || quarter === 2;
  const flip = quarter === 2 || quarter === 3;
  const right = turned(image, transpose, pose >= 4 ? !mirror : mirror, flip);
  if (inverted) right.pixels.forEach((value, at) => (right.pixels[at] = 255 - value));
  return right;
}

/** Returns the grey levels below which 1 % and 99 % of the pixels lie. */
function levels({ width, height, pixels }, sidePx) {
  const step = Math.max(1, Math.floor(Math.min(width, height) / sidePx));
  const some = [];
  for (let y = 0; y < height; y += step) {
    for (let x = 0; x < width; x += step) some.push(pixels[y * width + x]);
  }
  const sorted = Float32Array.from(some).sort();
  return [0.01, 0.99].map((share) => {
    const place = share * (sorted.length - 1);
    const low = sorted[Math.floor(place)];
    return low + (sorted[Math.ceil(place)] - low) * (place % 1);
  });
}

function largest(values) {
  return values.reduce((best, value, place) => (value > values[best] ? place : best), 0);
}
