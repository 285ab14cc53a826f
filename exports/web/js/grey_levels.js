// Grey values of more than 8 bits to 0 to 255.

/** Scales 16-bit greys in place, as scale_sixteen_bit in bone_age_tf/images/decoding.py. */
export function scaleOwnRange(pixels, far) {
  const counts = new Uint32Array(65536);
  for (const value of pixels) counts[Math.round(value)] += 1;
  const lowest = counts.findIndex((count) => count > 0);
  const highest = counts.findLastIndex((count) => count > 0);
  const between = counts.slice();
  between[lowest] = between[highest] = 0;
  const total = between.reduce((sum, count) => sum + count, 0);
  const reaches = (condition) => {
    let sum = 0;
    return between.findIndex((count) => condition((sum += count)));
  };
  const first = reaches((sum) => 100 * sum > total);
  const last = reaches((sum) => 100 * sum >= 99 * total);
  const reach = total > 0 && first < last ? far * (last - first) : Infinity;
  const low = counts.findIndex((count, level) => count > 0 && level >= first - reach);
  const high = counts.findLastIndex((count, level) => count > 0 && level <= last + reach);
  const factor = 255 / Math.max(high - low, 1);
  for (let i = 0; i < pixels.length; i++) {
    pixels[i] = (Math.min(Math.max(pixels[i], low), high) - low) * factor;
  }
}
