// Answers as rows, words and CSV, as --mode=predict writes them.

export const SEX_NAMES = ["female", "male"];

/** Rounds to a number of digits; exact halves go to the even neighbour, as in Python. */
export function rounded(value, digits) {
  const scaled = value * 10 ** digits;
  const low = Math.floor(scaled);
  const isHalf = scaled - low === 0.5;
  const whole = isHalf ? low + (low % 2 === 0 ? 0 : 1) : Math.round(scaled);
  return (whole / 10 ** digits).toFixed(digits);
}

/** Writes months as years and months. */
export function inYears(months) {
  const whole = Math.max(0, Number(rounded(months, 0)));
  return `${Math.floor(whole / 12)} y ${whole % 12} m`;
}

/**
 * Returns the status and reason of predictions, rejected where the image is outside the distribution
 * of the training images. film: { status, reason } of what was read; predictions: by sex code.
 */
export function judge(film, predictions, settings) {
  if (film.status !== "ok") return { status: film.status, reason: film.reason };
  const far = Math.max(0, ...predictions.map(({ unfamiliarity }) => unfamiliarity ?? 0));
  if (settings.refuses_unfamiliar && far > 1) {
    const distance = `(distance ${rounded(far, 2)}, limit 1.00)`;
    const reason = `${settings.texts.unfamiliar} ${distance}`;
    return { status: "rejected", reason };
  }
  return { status: "ok", reason: film.reason };
}

/** Returns the rows of one case, each with the texts of the settings' columns. */
export function rowsOf(item, settings) {
  const { name, sexes, verdict, predictions } = item;
  if (!verdict) return [];
  // The page knows neither the child's age nor the side: it reads no DICOM. These cells are empty.
  const row = (cells) => settings.columns.map((column) => cells[column] ?? "");
  const sexSource = sexes?.length === 1 ? settings.sex_source : "";
  const shared = { image: name, status: verdict.status, sex_source: sexSource };
  if (verdict.status !== "ok") {
    const sex = sexes?.length === 1 ? SEX_NAMES[sexes[0]] : "";
    return [row({ ...shared, sex, reason: verdict.reason })];
  }
  const both = sexes.length > 1 ? settings.both_sexes : "";
  const reason = [both, verdict.reason].filter(Boolean).join("; ");
  const text = (number) => (number === null ? "" : rounded(number, 1));
  return predictions.map(({ age, lower, upper }, place) => {
    const numbers = { bone_age_months: text(age), lower_90: text(lower), upper_90: text(upper) };
    return row({ ...shared, sex: SEX_NAMES[sexes[place]], ...numbers, reason });
  });
}

/** Writes rows as CSV. */
export function toCsv(rows, settings) {
  // An apostrophe before what a spreadsheet would run as a formula, as bone_age_tf/csv_text.py does.
  const isFormula = (text) => /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text));
  const safe = (text) => (isFormula(text) ? `'${text}` : text);
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const line = (row) => `${row.map((text) => quoted(safe(text))).join(",")}\n`;
  return [settings.columns, ...rows].map(line).join("");
}

/** Writes the answers of one case as sentences. */
export function inWords(item, settings) {
  const lines = rowsOf(item, settings).map(
    ([name, sex, age, lower, upper, status, reason], place) => {
      if (status !== "ok") return `${name}  ${status}: ${reason}`;
      const years = inYears(item.predictions[place].age);
      const interval = lower === "" ? "" : `, 90 % interval ${lower} to ${upper}`;
      const notes = reason.replace(settings.both_sexes, "").replace(/^; /, "");
      const answer = `${name}  ${sex}  bone age ${age} months (${years})${interval}`;
      return notes ? `${answer}; ${notes}` : answer;
    },
  );
  return lines.join("\n");
}
