// The film and the coloured map above it.

// Nine places of viridis (van der Walt and Smith 2015), which colour-blind readers can read.
const VIRIDIS = [
  [68, 1, 84],
  [71, 44, 122],
  [59, 81, 139],
  [44, 113, 142],
  [33, 144, 141],
  [39, 173, 129],
  [92, 200, 99],
  [170, 220, 50],
  [253, 231, 37],
];

/** Returns the colour of a share, 0 to 1, as [red, green, blue]. */
export function colourOf(share) {
  const place = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(place), VIRIDIS.length - 2);
  const part = place - low;
  return VIRIDIS[low].map((value, i) => Math.round(value + (VIRIDIS[low + 1][i] - value) * part));
}

/** Draws a film { width, height, levels }. */
export function drawFilm(canvas, { width, height, levels }) {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const { data } = picture;
  for (let i = 0, at = 0; i < levels.length; i++, at += 4) {
    data[at] = data[at + 1] = data[at + 2] = levels[i];
    data[at + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

/**
 * Draws a map { height, width, values } above a film.
 *
 * Values are interpolated, not colours, so that each colour means what the legend says.
 *
 * place: where in the model's square, of sizePx, the film lies; most: the value of the last colour.
 */
export function drawMap(canvas, film, map, place, sizePx, most) {
  const { width, height } = film;
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const columns = samples(width, place.left, place.width, sizePx, map.width);
  const rows = samples(height, place.top, place.height, sizePx, map.height);
  let at = 0;
  for (const row of rows) {
    const upper = row.low * map.width;
    const lower = row.high * map.width;
    for (const { low, high, part } of columns) {
      const above = map.values[upper + low] * (1 - part) + map.values[upper + high] * part;
      const below = map.values[lower + low] * (1 - part) + map.values[lower + high] * part;
      const value = above * (1 - row.part) + below * row.part;
      picture.data.set(colourOf(most > 0 ? value / most : 0), at);
      picture.data[at + 3] = 255;
      at += 4;
    }
  }
  context.putImageData(picture, 0, 0);
}

/** Returns for each pixel of a line of the film between which cells of the map it lies. */
function samples(pixels, start, length, sizePx, cells) {
  return Array.from({ length: pixels }, (_, pixel) => {
    const inSquare = start + ((pixel + 0.5) * length) / pixels;
    const cell = Math.min(Math.max((inSquare * cells) / sizePx - 0.5, 0), cells - 1);
    const low = Math.floor(cell);
    return { low, high: Math.min(low + 1, cells - 1), part: cell - low };
  });
}

/** Writes what the colours mean. */
export function drawLegend(host, words, from, to) {
  const ramp = document.createElement("div");
  ramp.className = "ramp";
  const colours = VIRIDIS.map((colour) => `rgb(${colour.join(" ")})`);
  ramp.style.background = `linear-gradient(to right, ${colours.join(", ")})`;
  const ends = document.createElement("div");
  ends.className = "ends";
  for (const end of [from, to])
    ends.append(Object.assign(document.createElement("span"), { textContent: end }));
  host.replaceChildren(
    Object.assign(document.createElement("p"), { textContent: words }),
    ramp,
    ends,
  );
}
