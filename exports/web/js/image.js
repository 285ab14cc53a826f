// Grey images { width, height, pixels }: turned, trimmed and resized.
//
// The same steps as bone_age_tf/images/reading.py, which resizes with Pillow's BILINEAR filter: a
// triangle, widened where the image shrinks, in two passes, columns first.

/** Returns an image transposed, then mirrored left to right, then mirrored top to bottom. */
export function turned(image, transpose, mirror, flip) {
  const { width, height, pixels } = image;
  const across = transpose ? height : width;
  const down = transpose ? width : height;
  const result = new Float32Array(across * down);
  for (let y = 0, at = 0; y < down; y++) {
    const row = flip ? down - 1 - y : y;
    for (let x = 0; x < across; x++, at++) {
      const column = mirror ? across - 1 - x : x;
      result[at] = transpose ? pixels[column * width + row] : pixels[row * width + column];
    }
  }
  return { width: across, height: down, pixels: result };
}

/**
 * Returns an image without its margins, all of it where nothing else is in it: rows and columns that
 * are black or of one grey, as trim_margins in bone_age_tf/images/reading.py.
 */
export function trimMargins(image, settings) {
  for (let turn = 0; turn < settings.margins; turn++) {
    const { width, height, pixels } = image;
    const row = (y) => pixels.subarray(y * width, (y + 1) * width);
    const column = (x) => Float32Array.from({ length: height }, (_, y) => pixels[y * width + x]);
    const [top, bottom] = inside(row, height, settings);
    const [left, right] = inside(column, width, settings);
    if (bottom - top === height && right - left === width) break;
    image = cut(image, top, bottom, left, right);
  }
  return image;
}

/** Returns where lines begin and end without the margins at either end. */
function inside(line, count, settings) {
  const end = margin((place) => line(count - 1 - place), count, settings);
  return [margin(line, count, settings), count - end];
}

/** Returns how many lines from the first on are a margin; 0 where all are empty. */
function margin(line, count, settings) {
  let size = 0;
  while (size < count && isEmpty(line(size), settings)) size += 1;
  if (size === count || size === 0 || size < settings.thin_edge * count) return 0;
  const last = line(size - 1);
  if (isBlack(last, settings)) return size;
  const least = settings.step_percent * last.length;
  for (let at = size; at < Math.min(count, size + settings.step_lines); at++) {
    if (100 * (last.length - countNear(line(at), last, settings)) >= least) return size;
  }
  return 0;
}

function isBlack(line, settings) {
  return line.every((value) => value <= settings.black);
}

function isEmpty(line, settings) {
  if (isBlack(line, settings)) return true;
  return 100 * countNear(line, line, settings) >= settings.plain_percent * line.length;
}

/** Returns how many pixels of a line are near the mean of another. */
function countNear(line, other, settings) {
  const count = line.length;
  let total = 0;
  for (const value of other) total += roundedEven(value);
  let near = 0;
  for (const value of line) {
    if (Math.abs(roundedEven(value) * count - total) <= settings.plain * count) near += 1;
  }
  return near;
}

/** Returns the value below which a share of sorted values lies, interpolated. */
export function percentile(sorted, share) {
  const place = share * (sorted.length - 1);
  const low = sorted[Math.floor(place)];
  return low + (sorted[Math.ceil(place)] - low) * (place % 1);
}

/** Rounds halves to the even number, as NumPy and TensorFlow do. */
export function roundedEven(value) {
  const whole = Math.round(value);
  return whole - value === 0.5 && whole % 2 ? whole - 1 : whole;
}

function cut(image, top, bottom, left, right) {
  const { width, height, pixels } = image;
  if (bottom - top === height && right - left === width) return image;
  const across = right - left;
  const result = new Float32Array(across * (bottom - top));
  for (let y = top; y < bottom; y++) {
    result.set(pixels.subarray(y * width + left, y * width + right), (y - top) * across);
  }
  return { width: across, height: bottom - top, pixels: result };
}

/** Returns [height, width] of an image whose longer side becomes sizePx. */
export function fittedSize(height, width, sizePx) {
  const scale = sizePx / Math.max(height, width);
  const side = (length) => Math.max(1, Math.floor(length * scale + 0.5));
  return [side(height), side(width)];
}

/**
 * Resizes to a square of sizePx.
 *
 * Returns { square, place }: the square, an image; and where in the square the whole image lies,
 * { top, left, height, width }.
 */
export function fit(image, sizePx, mode) {
  if (mode === "stretch") {
    const place = { top: 0, left: 0, height: sizePx, width: sizePx };
    return { square: resized(image, sizePx, sizePx), place };
  }
  if (mode !== "pad") throw new Error(`unknown resize mode: ${mode}`);
  const [height, width] = fittedSize(image.height, image.width, sizePx);
  const top = Math.floor((sizePx - height) / 2);
  const left = Math.floor((sizePx - width) / 2);
  const pixels = new Float32Array(sizePx * sizePx);
  const small = resized(image, height, width);
  for (let y = 0; y < height; y++) {
    pixels.set(small.pixels.subarray(y * width, (y + 1) * width), (top + y) * sizePx + left);
  }
  const square = { width: sizePx, height: sizePx, pixels };
  return { square, place: { top, left, height, width } };
}

/** Shrinks so that the longer side has at most longerSidePx; a smaller image stays as it is. */
export function shrunk(image, longerSidePx) {
  if (Math.max(image.height, image.width) <= longerSidePx) return image;
  return resized(image, ...fittedSize(image.height, image.width, longerSidePx));
}

/** Resizes with an antialiased triangle filter. */
export function resized(image, height, width) {
  let now = image;
  if (now.width !== width) now = resizedAcross(now, width);
  if (now.height !== height) now = resizedDown(now, height);
  return now;
}

/** Returns for each pixel of a line where its weights begin, and the weights. */
function weightsOf(from, to) {
  const scale = from / to;
  const reach = Math.max(scale, 1);
  return Array.from({ length: to }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - reach + 0.5));
    const end = Math.min(from, Math.floor(centre + reach + 0.5));
    const weights = new Float64Array(end - first);
    let sum = 0;
    for (let i = 0; i < weights.length; i++) {
      weights[i] = Math.max(0, 1 - Math.abs((i + first - centre + 0.5) / reach));
      sum += weights[i];
    }
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

function resizedAcross({ width, height, pixels }, target) {
  const result = new Float32Array(target * height);
  const places = weightsOf(width, target);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < target; x++) {
      const { first, weights } = places[x];
      let sum = 0;
      for (let i = 0, at = y * width + first; i < weights.length; i++, at++) {
        sum += pixels[at] * weights[i];
      }
      result[y * target + x] = sum;
    }
  }
  return { width: target, height, pixels: result };
}

function resizedDown({ width, height, pixels }, target) {
  const result = new Float32Array(width * target);
  const sums = new Float64Array(width);
  weightsOf(height, target).forEach(({ first, weights }, y) => {
    sums.fill(0);
    weights.forEach((weight, i) => {
      const at = (first + i) * width;
      for (let x = 0; x < width; x++) sums[x] += pixels[at + x] * weight;
    });
    result.set(sums, y * width);
  });
  return { width, height: target, pixels: result };
}
