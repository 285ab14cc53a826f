// Numbers as texts, as Python writes them.

/** Rounds to a number of digits; exact halves go to the even neighbour, as in Python. */
export function rounded(value, digits) {
  const scaled = value * 10 ** digits;
  const low = Math.floor(scaled);
  const isHalf = scaled - low === 0.5;
  const whole = isHalf ? low + (low % 2 === 0 ? 0 : 1) : Math.round(scaled);
  return (whole / 10 ** digits).toFixed(digits);
}

/** Writes a number with its sign. */
export function signed(value, digits) {
  const text = rounded(value, digits);
  return text.startsWith("-") ? text : `+${text}`;
}

/** Writes a number with six significant digits and no more than needed, as the format "g". */
export function general(value) {
  return String(Number(value.toPrecision(6)));
}

/** Writes months as years and months. */
export function inYears(months) {
  const whole = Math.max(0, Number(rounded(months, 0)));
  return `${Math.floor(whole / 12)} y ${whole % 12} m`;
}
