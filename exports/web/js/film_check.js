// A look at each film before its bone age is read, as bone_age_tf/quality/checker.py.

import { fit, percentile, roundedEven, trimMargins, turned } from "./image.js";

/**
 * Rejects a radiograph or corrects it.
 *
 * ask takes the pixels of a square and returns { film_kind, film_pose, film_inverted }. find, where
 * the model reads hands in their frame, finds the hand in an image. Returns { image, reason, words,
 * hand }: the radiograph, null where it is refused; why; what was corrected; and the hand in it.
 */
export async function look(film, check, settings, ask, find = null) {
  const image = trimMargins(film, settings);
  const { width, height } = image;
  const [side, whole] = [Math.min(width, height), Math.min(film.width, film.height)];
  const least = settings.least_side_px;
  if (side < least && (whole < least || 4 * side < 3 * whole)) {
    const isCut = width !== film.width || height !== film.height;
    const cut = isCut ? settings.trimmed : "";
    const needs = `the shorter side needs ${least} or more`;
    return { image: null, reason: `${settings.texts.too_small}: ${width} x ${height} px${cut}; ${needs}` };
  }
  const some = someGreys(image, settings.levels_side_px);
  const greys = Float32Array.from(some.greys).sort();
  const [low, high] = [0.01, 0.99].map((share) => percentile(greys, share));
  if (high - low < settings.least_range) return { image: null, reason: settings.texts.blank };
  if (levels(greys, settings.level_share) < settings.least_levels) {
    return { image: null, reason: settings.texts.few_levels };
  }
  const { square } = fit(image, check.size_px, check.resize);
  const said = await ask(square.pixels);
  const inverted = said.film_inverted[0] > settings.sure_inverted && !hasDarkRim(some, settings);
  let hand = find && (await find(inverted ? corrected(image, 0, true) : image));
  const isFound = hand?.isCertain || hand?.lacksDigit;
  if (isFound && said.film_kind[check.kinds.indexOf("two")] > settings.perhaps_two) {
    return { image: null, reason: settings.refusals.two };
  }
  if (hand?.lacksDigit) return { image: null, reason: settings.texts.lacks_digit };
  const threshold = hand ? settings.sure_whole : check.hand_threshold;
  if (said.film_kind[0] < threshold && !hand?.isCertain) {
    return { image: null, reason: settings.refusals[check.kinds[largest(said.film_kind)]] };
  }
  if (hand?.isCut) return { image: null, reason: settings.refusals.cut };
  const pose = hand?.isCertain ? 0 : likelyPose(said.film_pose, settings); // its frame turns it
  const isWide = film.width * film.height > settings.wide * width * height;
  const words = [
    ...(pose ? [settings.pose_corrections[pose]] : []),
    ...(inverted ? [settings.greys_inverted] : []),
    ...(isWide ? [settings.margins_cropped] : []),
  ];
  if (!pose && !inverted) return { image, words, hand };
  const right = corrected(image, pose, inverted);
  if (find && pose) hand = await find(right);
  return { image: right, words, hand };
}

/** Returns the image upright, a left hand and with bright bones. */
export function corrected(image, pose, inverted) {
  const quarter = pose % 4;
  const transpose = quarter === 1 || quarter === 3;
  const mirror = quarter === 1 || quarter === 2;
  const flip = quarter === 2 || quarter === 3;
  const right = turned(image, transpose, pose >= 4 ? !mirror : mirror, flip);
  if (inverted) right.pixels.forEach((value, at) => (right.pixels[at] = 255 - value));
  return right;
}

/** Returns { width, greys }: greys from all over an image, enough to tell its levels. */
function someGreys({ width, height, pixels }, sidePx) {
  const step = Math.max(1, Math.floor(Math.min(width, height) / sidePx));
  const some = [];
  for (let y = 0; y < height; y += step) {
    for (let x = 0; x < width; x += step) some.push(pixels[y * width + x]);
  }
  return { width: Math.ceil(width / step), greys: some };
}

/**
 * Says whether a hand on a background of one bright grey is darker at its rim than inside: so is a
 * hand with bright bones, whatever was painted around it.
 */
function hasDarkRim({ width, greys }, settings) {
  const levels = Int32Array.from(greys, roundedEven);
  const height = levels.length / width;
  const counts = new Uint32Array(256);
  for (const level of levels) counts[level] += 1;
  const background = largest(counts);
  const around = levels.map((level) => (Math.abs(level - background) <= settings.plain ? 1 : 0));
  const covered = around.reduce((sum, value) => sum + value, 0);
  if (background < settings.bright) return false;
  if (100 * covered < settings.painted_percent * levels.length) return false;
  const sums = [0, 0];
  const sizes = [0, 0];
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (around[at]) continue;
      const part = isNear(around, x, y, width, height, settings.rim_px) ? 0 : 1;
      sums[part] += levels[at];
      sizes[part] += 1;
    }
  }
  return sizes[0] > 0 && sizes[1] > 0 && sums[0] * sizes[1] < sums[1] * sizes[0];
}

function isNear(cells, x, y, width, height, reach) {
  for (let v = Math.max(0, y - reach); v <= Math.min(height - 1, y + reach); v++) {
    for (let u = Math.max(0, x - reach); u <= Math.min(width - 1, x + reach); u++) {
      if (cells[v * width + u]) return true;
    }
  }
  return false;
}

/** Returns how many grey levels hold a share of the pixels that counts. */
function levels(greys, share) {
  const counts = new Uint32Array(257);
  for (const grey of greys) counts[roundedEven(grey)] += 1;
  return counts.filter((count) => share * count >= greys.length).length;
}

/** Returns the pose that is corrected; the latter four of the eight are the first four, mirrored. */
function likelyPose(poses, settings) {
  const turns = [0, 1, 2, 3].map((turn) => poses[turn] + poses[turn + 4]);
  const likely = largest(turns);
  const turn = turns[likely] > settings.sure_turned ? likely : 0;
  const mirrored = poses[4] + poses[5] + poses[6] + poses[7];
  return turn + (mirrored > settings.sure_mirrored ? 4 : 0);
}

function largest(values) {
  return values.reduce((best, value, place) => (value > values[best] ? place : best), 0);
}
