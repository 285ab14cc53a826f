// The hand and its frame, as bone_age_tf/regions/frame.py and views.py find them.
//
// A view { linear: [[a, b], [c, d]], offset: [x, y] } maps pixels (x, y) of an image to fractions of
// what is seen; coordinates are continuous, so that a pixel's middle lies half a pixel inside.

import { fit, roundedEven } from "./image.js";

/**
 * Finds the hand in an image with bright bones.
 *
 * rules are settings.frame; find takes the pixels of a square of rules.size_px and returns { boxes,
 * scores }. Returns { places, mirrored, doubt, isCertain, isCut, lacksDigit }: places, (x, y) of each
 * region.
 */
export async function findHand(image, rules, find) {
  const { width, height } = image;
  const blocks = Math.floor(Math.max(width, height) / (rules.search * rules.size_px));
  const block = Math.max(1, Math.min(blocks, width, height));
  const small = block > 1 ? blockMeans(image, block) : image;
  const look = (view, mirrored) => lookAt(small, view, mirrored, rules, find);
  const found = await search(small, rules, look);
  const hand = await lastLook(found, rules, look);
  const places = hand.places.map(([x, y]) => [x * block, y * block]);
  const isCut = liesBeyond(hand.places, hand.mirrored, small, rules);
  return { ...hand, places, isCertain: hand.doubt <= rules.doubt_limit, isCut };
}

/** Says whether a joint or the wrist lies beyond the edges of an image. */
function liesBeyond(places, mirrored, { width, height }, rules) {
  const [, down] = upright(places, mirrored, rules);
  const far = rules.below_wrist * palmLength(places, rules);
  const ends = ["radius", "ulna"].map((name) => {
    const [x, y] = places[rules.regions.indexOf(name)];
    return [x + down[0] * far, y + down[1] * far];
  });
  return [...places, ...ends].some(([x, y]) => x < 0 || y < 0 || x > width || y > height);
}

/** Returns the hand in its frame of sizePx, an image. */
export function framed(image, hand, sizePx, rules) {
  const view = frameView(hand.places, hand.mirrored, rules.frame_margin, rules);
  return warped(image, view, sizePx);
}

/**
 * Brings an image to a model's input, the hand in its frame where it is certain.
 *
 * Returns { square, place, words }: as fit does, and what was done, in words.
 */
export function fitHand(image, hand, sizePx, settings) {
  const rules = settings.frame;
  if (!hand.isCertain) return { ...fit(image, sizePx, "pad"), words: [rules.not_framed] };
  const place = { top: 0, left: 0, height: sizePx, width: sizePx };
  const square = framed(image, hand, sizePx, rules);
  return { square, place, words: turnsOf(hand, settings) };
}

function turnsOf(hand, settings) {
  const rules = settings.frame;
  const [across] = upright(hand.places, false, rules);
  const degrees = (Math.atan2(-across[1], across[0]) * 180) / Math.PI;
  const step = rules.tilt_step;
  const tilt = step * roundedEven(degrees / step);
  const words = Math.abs(degrees) >= rules.least_tilt ? [rules.rotated[tilt / step + 180 / step]] : [];
  return hand.mirrored ? [...words, settings.pose_corrections[4]] : words;
}

async function search(image, rules, look) {
  let best = null;
  for (const quarters of rules.quarters) {
    const looks = [];
    for (const mirrored of [false, true]) {
      looks.push(await look(wholeView(image, mirrored, quarters), mirrored));
    }
    looks.sort((one, other) => one.doubt - other.doubt);
    for (const first of looks) {
      const least = Math.min(looks[0].doubt, best?.doubt ?? 2);
      if (first.doubt > least + rules.more_doubt) break;
      const hand = await closer(first, rules, look);
      if (!best || hand.doubt < best.doubt) best = hand;
      if (best.doubt <= rules.sure) return best;
    }
    if (best.doubt <= rules.doubt_limit) break;
  }
  return best;
}

/** Returns what is found when a hand is looked at again, with the least doubt. */
async function closer(first, rules, look) {
  let last = first;
  let best = null;
  for (let turn = 0; turn < rules.closer_looks; turn++) {
    const hand = await look(viewAround(last, rules), first.mirrored);
    if (!best || hand.doubt < best.doubt) best = hand;
    const moved = Math.max(
      ...hand.places.flatMap(([x, y], at) => [
        Math.abs(x - last.places[at][0]),
        Math.abs(y - last.places[at][1]),
      ]),
    );
    last = hand;
    if (moved <= rules.settled * palmLength(hand.places, rules)) break;
  }
  return best;
}

/** Returns the mean of looks at a hand that are shifted against each other. */
async function lastLook({ places, mirrored }, rules, look) {
  const { linear, offset } = viewAround({ places, mirrored }, rules);
  const looks = [];
  for (const shift of rules.last_shifts) {
    looks.push(await look({ linear, offset: offset.map((value) => value + shift) }, mirrored));
  }
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const meanPlaces = places.map((_, at) =>
    [0, 1].map((axis) => mean(looks.map((one) => one.places[at][axis]))),
  );
  const scores = places.map((_, at) => mean(looks.map((one) => one.scores[at])));
  const doubts = measureDoubt(meanPlaces, scores, mirrored, rules);
  return { places: meanPlaces, mirrored, ...doubts };
}

async function lookAt(image, view, mirrored, rules, find) {
  const { boxes, scores } = await find(warped(image, view, rules.size_px).pixels);
  const back = inverse(view);
  const places = Array.from({ length: scores.length }, (_, at) => {
    const [top, left, bottom, right] = boxes.subarray(4 * at, 4 * at + 4);
    return moved([(left + right) / 2, (top + bottom) / 2], back);
  });
  return { places, scores, mirrored, ...measureDoubt(places, scores, mirrored, rules) };
}

function wholeView({ width, height }, mirrored, quarters) {
  const side = Math.max(width, height);
  let [[a, b], [c, d]] = [[(mirrored ? -1 : 1) / side, 0], [0, 1 / side]];
  for (let turn = 0; turn < quarters; turn++) [[a, b], [c, d]] = [[c, d], [-a, -b]];
  const offset = [0.5 - (a * width + b * height) / 2, 0.5 - (c * width + d * height) / 2];
  return { linear: [[a, b], [c, d]], offset };
}

function viewAround(hand, rules) {
  return frameView(hand.places, hand.mirrored, rules.view_border, rules);
}

/** Returns the view in which the hand fills a square up to a border. */
export function frameView(places, mirrored, border, rules) {
  const linear = upright(places, mirrored, rules);
  const own = places.map((place) => turnedBy(place, linear));
  const at = (name) => own[rules.regions.indexOf(name)];
  const palm = palmLength(places, rules);
  const ends = rules.fingers.map((finger) => [`DIP${finger}`, `PIP${finger}`]);
  const tips = [...ends, ["PIP1", "MCP1"]].map(([last, before]) =>
    [0, 1].map((axis) => 2 * at(last)[axis] - at(before)[axis]),
  );
  const across = [...own, ...tips].map(([x]) => x);
  const left = Math.min(...across) - 0.13 * palm;
  const right = Math.max(...across) + 0.13 * palm;
  const top = Math.min(...tips.map(([, y]) => y));
  const bottom = Math.max(at("radius")[1], at("ulna")[1]) + 0.28 * palm;
  const side = Math.max(bottom - top, right - left, 1e-6) / (1 - 2 * border);
  const offset = [(side - left - right) / 2 / side, (side - top - bottom) / 2 / side];
  return { linear: linear.map((row) => row.map((value) => value / side)), offset };
}

/** Returns the rotation, after a reflection if mirrored, that turns the hand upright. */
function upright(places, mirrored, rules) {
  const [wrist, knuckle] = ["wrist", "MCP3"].map((name) => places[rules.regions.indexOf(name)]);
  const palm = [knuckle[0] - wrist[0], knuckle[1] - wrist[1]];
  const length = Math.hypot(...palm);
  const up = length > 0 ? [palm[0] / length, palm[1] / length] : [0, -1];
  const sign = mirrored ? -1 : 1;
  return [[-up[1] * sign, up[0] * sign], [-up[0], -up[1]]];
}

function palmLength(places, rules) {
  return distance(...["wrist", "MCP3"].map((name) => places[rules.regions.indexOf(name)]));
}

/**
 * Says how doubtful it is that a hand was found where it is, 0 to 1.
 *
 * Returns { doubt, lacksDigit }: whether one digit is doubtful and the rest much less so.
 */
export function measureDoubt(places, scores, mirrored, rules) {
  const joints = rules.regions.filter((name) => /^(DIP|PIP|MCP)/.test(name));
  const wrong = impossibleProportions(places, mirrored, rules);
  const doubtOf = (names, count) => {
    const lowest = Math.min(...names.map((name) => scores[rules.regions.indexOf(name)]));
    return Math.min(1, Math.max(0, 1 - lowest + rules.doubt_of_geometry * count));
  };
  const without = (digit) => {
    const kept = joints.filter((name) => !name.includes(digit) || name.startsWith("MCP"));
    return doubtOf(kept, wrong.filter((name) => !name.includes(digit)).length);
  };
  const rest = Math.min(...["1", "2", "3", "4", "5"].map(without));
  const whole = doubtOf(joints, wrong.length);
  const lacking = rules.lacking_doubt + (1 - rules.lacking_doubt) * rest;
  const isLower = 1 - whole <= rules.lacking_share * (1 - rest);
  const lacksDigit = whole > rules.lacking_least && rest <= rules.lacking_limit && isLower;
  return { doubt: Math.min(whole, lacking), lacksDigit };
}

/** Returns the names of the lengths, angles and orders of the joints that no hand has. */
export function impossibleProportions(places, mirrored, rules) {
  const linear = upright(places, mirrored, rules);
  const palm = palmLength(places, rules);
  const wrist = places[rules.regions.indexOf("wrist")];
  const own = places.map(([x, y]) =>
    turnedBy([x - wrist[0], y - wrist[1]], linear).map((value) => value / palm),
  );
  if (!own.flat().every(Number.isFinite)) return ["palm"];
  const at = (name) => own[rules.regions.indexOf(name)];
  const outside = (value, [low, high]) => !(low <= value && value <= high);
  const wrong = [];
  for (const [name, limits] of Object.entries(rules.length_limits)) {
    const before = rules.joint_before[name.slice(0, -1)];
    const start = before ? at(before + name.slice(-1)) : [0, 0];
    if (outside(distance(at(name), start), limits)) wrong.push(name);
  }
  for (const [joint, limits] of Object.entries(rules.gap_limits)) {
    for (const finger of rules.fingers.slice(0, -1)) {
      const gap = at(joint + finger)[0] - at(joint + (finger + 1))[0];
      if (outside(gap, limits)) wrong.push(`${joint}${finger}${finger + 1}`);
    }
  }
  const least = Math.cos((rules.most_bent_degrees * Math.PI) / 180);
  for (const finger of rules.fingers) {
    const [knuckle, middle, last] = ["MCP", "PIP", "DIP"].map((joint) => at(joint + finger));
    const first = [middle[0] - knuckle[0], middle[1] - knuckle[1]];
    const second = [last[0] - middle[0], last[1] - middle[1]];
    const product = Math.max(1e-9, Math.hypot(...first) * Math.hypot(...second));
    const cosine = (first[0] * second[0] + first[1] * second[1]) / product;
    if (cosine < least || first[1] > 0) wrong.push(`finger ${finger}`);
  }
  if (at("MCP1")[0] < at("MCP2")[0]) wrong.push("MCP12");
  const [radius, ulna] = [at("radius"), at("ulna")];
  if (radius[0] < ulna[0] || Math.min(radius[1], ulna[1]) < 0.1) wrong.push("radius and ulna");
  return wrong;
}

/** Returns a square of what a view shows of an image, antialiased; outside of it all is black. */
export function warped(image, view, sizePx) {
  const [[a, b], [c, d]] = view.linear;
  const scale = sizePx * Math.sqrt(Math.abs(a * d - b * c));
  const finer = scale < 1 ? 2 : 1;
  const most = Math.min(image.width, image.height);
  const block = Math.min(roundedEven(1 / Math.max(finer * scale, 1e-9)), most);
  let from = image;
  let seenBy = view;
  if (block > 1) {
    from = blockMeans(image, block);
    const linear = view.linear.map((row) => row.map((value) => value * block));
    seenBy = { linear, offset: view.offset };
  }
  const side = finer * sizePx;
  const seen = sampled(from, inverse(seenBy), side);
  return finer > 1 ? blockMeans(seen, finer) : seen;
}

/** Returns a square of an image, interpolated where a view's inverse maps the middles of pixels. */
function sampled({ width, height, pixels }, back, side) {
  const result = new Float32Array(side * side);
  const grey = (x, y) => (x >= 0 && y >= 0 && x < width && y < height ? pixels[y * width + x] : 0);
  for (let row = 0, place = 0; row < side; row++) {
    for (let column = 0; column < side; column++, place++) {
      const [x, y] = moved([(column + 0.5) / side, (row + 0.5) / side], back);
      const [left, top] = [Math.floor(x - 0.5), Math.floor(y - 0.5)];
      if (left < -1 || top < -1 || left >= width || top >= height) continue;
      const [across, down] = [x - 0.5 - left, y - 0.5 - top];
      const above = grey(left, top) * (1 - across) + grey(left + 1, top) * across;
      const below = grey(left, top + 1) * (1 - across) + grey(left + 1, top + 1) * across;
      result[place] = above * (1 - down) + below * down;
    }
  }
  return { width: side, height: side, pixels: result };
}

/** Returns the means of whole blocks of pixels; what is left over is cut. */
function blockMeans({ width, height, pixels }, block) {
  const [across, down] = [Math.floor(width / block), Math.floor(height / block)];
  const result = new Float32Array(across * down);
  for (let y = 0; y < down * block; y++) {
    const row = Math.floor(y / block) * across;
    for (let x = 0, at = y * width; x < across; x++) {
      let sum = 0;
      for (let i = 0; i < block; i++, at++) sum += pixels[at];
      result[row + x] += sum;
    }
  }
  for (let place = 0; place < result.length; place++) result[place] /= block * block;
  return { width: across, height: down, pixels: result };
}

function inverse({ linear: [[a, b], [c, d]], offset: [x, y] }) {
  const det = a * d - b * c;
  const linear = [[d / det, -b / det], [-c / det, a / det]];
  const [u, v] = turnedBy([x, y], linear);
  return { linear, offset: [-u, -v] };
}

function moved(place, { linear, offset }) {
  const [x, y] = turnedBy(place, linear);
  return [x + offset[0], y + offset[1]];
}

function turnedBy([x, y], [[a, b], [c, d]]) {
  return [a * x + b * y, c * x + d * y];
}

function distance([x, y], [u, v]) {
  return Math.hypot(x - u, y - v);
}
