// One image on the page: its film, the questions for the sex and the age, its answers and maps.

import { measuresOf } from "./clinical.js";
import { drawGrowthChart } from "./growth_chart.js";
import { knownOf, SEX_NAMES } from "./known_facts.js";
import { inYears, rounded, signed } from "./numbers.js";
import { drawFilm, drawLegend, drawMap } from "./overlay.js";
import { drawPlot } from "./plot.js";
import { regionLines } from "./regions.js";
import { notesOf } from "./table.js";

const COVERED = "covered";

export class Card {
  /** handlers: { chooseSex, giveAge, remove, copy, showWhere, stopWhere }, without the card. */
  constructor(item, handlers) {
    this.item = item;
    this.maps = new Map();
    const copy = document.getElementById("card").content.cloneNode(true);
    this.root = copy.querySelector("li");
    const name = this.find("h3");
    name.textContent = item.name;
    name.id = `name-${item.id}`;
    this.root.setAttribute("aria-labelledby", name.id);
    for (const radio of this.root.querySelectorAll("input[type=radio]")) {
      radio.name = `sex-${item.id}`;
      radio.addEventListener("change", () => handlers.chooseSex(radio.value));
    }
    for (const fieldset of this.root.querySelectorAll("fieldset")) {
      fieldset.setAttribute("aria-describedby", name.id);
    }
    for (const input of this.root.querySelectorAll(".child-age input")) {
      input.addEventListener("change", () => handlers.giveAge(this.givenAge()));
    }
    for (const [place, does] of [
      [".remove", handlers.remove],
      [".copy", handlers.copy],
      [".where", handlers.showWhere],
      [".stop", handlers.stopWhere],
    ]) {
      const button = this.find(place);
      button.addEventListener("click", does);
      if (!button.closest(".working")) button.setAttribute("aria-describedby", name.id);
    }
    this.find(".opacity input").addEventListener("input", () => this.setOpacity());
    this.find("select").addEventListener("change", () => this.showMap(this.find("select").value));
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  /** Shows the sex where it was chosen elsewhere. */
  checkSex(value) {
    this.find(`input[value=${value}]`).checked = true;
  }

  /** Shows the chronological age in months where it is from a file. */
  showAge(months) {
    // Rounded first, so that 11.96 months become a year and not 12 months.
    const shown = Number(rounded(months, 1));
    const years = Math.floor(shown / 12);
    this.find(".years").value = years;
    this.find(".months").value = Number(rounded(shown - 12 * years, 1));
  }

  /** Returns the chronological age that was typed in, in months; null where there is none. */
  givenAge() {
    const [years, months] = [".years", ".months"].map((place) => this.find(place).value);
    return years === "" && months === "" ? null : 12 * Number(years) + Number(months);
  }

  /** Says what a DICOM file states, so that it can be checked. */
  showFacts({ sex, ageMonths, side, heightCm }) {
    const parts = [
      sex ?? "no sex",
      ageMonths === null
        ? "no age"
        : inYears(ageMonths).replace(" y ", " years ").replace(" m", " months"),
      ...(side ? [`${side} hand`] : []),
      ...(heightCm === null ? [] : [`${rounded(heightCm, 1)} cm`]),
    ];
    this.find(".facts").textContent = `The DICOM file states: ${parts.join(", ")}. Please check.`;
    this.find(".facts").hidden = false;
  }

  say(words, kind = "") {
    const message = this.find(".message");
    message.className = `message ${kind}`;
    message.textContent = words;
  }

  showFilm({ preview, facts }) {
    if (facts) this.showFacts(facts);
    if (!preview) return;
    drawFilm(this.find(".image"), preview);
    this.find(".image").setAttribute("aria-label", `Radiograph ${this.item.name}`);
    this.find("figure").hidden = false;
  }

  /** Shows the state of the item: waiting, refused, failed or its answers. */
  update(metadata, settings) {
    const { film, verdict, predictions, sexes } = this.item;
    const isOk = verdict?.status === "ok";
    this.find(".answers").replaceChildren();
    for (const fieldset of this.root.querySelectorAll("fieldset")) {
      fieldset.hidden = film !== null && film.status !== "ok";
    }
    this.find(".known").textContent = "";
    this.find(".copy").hidden = !verdict;
    this.find(".where").hidden = !isOk;
    this.forgetMaps();
    if (!verdict) {
      this.say(film ? "Choose the sex to read this image." : "Opening…");
      return;
    }
    if (!isOk) {
      const start = verdict.status === "rejected" ? "Not read: " : "Could not be read: ";
      const notes = settings ? notesOf(this.item, knownOf(this.item, settings), settings) : [];
      this.say(start + (notes.length ? notes : verdict.reasons).join("; "), verdict.status);
      return;
    }
    for (const [place, prediction] of predictions.entries()) {
      this.addAnswer(prediction, SEX_NAMES[sexes[place]], metadata, settings);
      for (const map of prediction.maps) {
        const whose = predictions.length > 1 ? `, ${SEX_NAMES[sexes[place]]}` : "";
        this.addMap(`${map.name}${whose}`, { map, unit: metadata.outputs[map.name]?.unit });
      }
    }
    const { name, version } = metadata;
    this.readBy = `Read by ${name} version ${version}. ${settings.clinical.disclaimer}.`;
    this.showMeasures(settings);
    const [first] = this.maps.keys();
    if (first) this.showMap(first);
  }

  /** Shows notes, standard deviation scores and growth charts, which depend on the child's age. */
  showMeasures(settings) {
    const { item } = this;
    if (item.verdict?.status !== "ok") return;
    const known = knownOf(item, settings);
    const notes = notesOf(item, known, settings).map(capitalised);
    this.say(notes.join(". "));
    this.find(".known").textContent = `${inPrint(known)}\n${this.readBy}`;
    for (const [place, root] of [...this.root.querySelectorAll(".answer")].entries()) {
      const sex = SEX_NAMES[item.sexes[place]];
      showScore(root, item.predictions[place], sex, known, settings.clinical);
    }
  }

  addAnswer(prediction, sex, metadata, settings) {
    const copy = document.getElementById("answer").content.cloneNode(true);
    const root = copy.querySelector("section");
    const { age, lower, upper } = prediction;
    Object.assign(root.dataset, { age, lower, upper }); // unrounded, for programs
    const years = inYears(age).replace(" y ", " years ").replace(" m", " months");
    root.querySelector("h4").textContent = `Bone age, read as ${sex}`;
    root.querySelector(".age").textContent = years;
    const months = `${rounded(age, 1)} months`;
    const interval =
      lower === null ? "" : `90 % interval ${rounded(lower, 1)} to ${rounded(upper, 1)} months`;
    const ends = lower === null ? "" : ` (${inYears(lower)} to ${inYears(upper)})`;
    root.querySelector(".interval").textContent = `${months}\n${interval}${ends}`;
    const lines = regionLines(prediction.regions, settings.regions);
    root.querySelector(".regions").textContent = lines.map(capitalised).join("\n");
    this.find(".answers").append(root);
    const title = `Probability of each bone age, read as ${sex}: ${months}; ${interval}`;
    drawPlot(
      root.querySelector(".plot"),
      prediction,
      axisOf(prediction, metadata, settings),
      title,
    );
  }

  forgetMaps() {
    this.maps.clear();
    this.find("select").replaceChildren();
    for (const place of [".which", ".opacity", ".legend", ".map", ".working"])
      this.find(place).hidden = true;
  }

  addMap(name, entry) {
    this.maps.set(name, entry);
    this.find("select").append(new Option(name, name));
    this.find(".which").hidden = this.maps.size < 2;
  }

  /** Shows how far the age moves when a place is covered. */
  addCovered(map) {
    this.find(".where").hidden = true;
    this.addMap(COVERED, { map, unit: "months" });
    this.find(`option[value=${COVERED}]`).textContent = "where it matters";
    this.showMap(COVERED);
  }

  showMap(name) {
    const { map, unit } = this.maps.get(name);
    const most = Math.max(...map.values);
    const { film } = this.item;
    drawMap(this.find(".map"), film.preview, map, film.place, film.sizePx, most);
    this.find("select").value = name;
    if (name === COVERED) {
      const pieces = `${map.height} x ${map.width} pieces`;
      const words = `How far the age moves when a place is covered, in months (${pieces})`;
      drawLegend(this.find(".legend"), words, "0", `${rounded(most, 1)} months`);
    } else {
      drawLegend(
        this.find(".legend"),
        `What the model weighs${unit ? `, in ${unit}` : ""}`,
        "least",
        "most",
      );
    }
    this.find(".map").setAttribute("aria-label", `Overlay ${name} above ${this.item.name}`);
    for (const place of [".map", ".opacity", ".legend"]) this.find(place).hidden = false;
    this.setOpacity();
  }

  setOpacity() {
    this.find(".map").style.opacity = this.find(".opacity input").value / 100;
  }

  /** Shows how much of the covering is done, 0 to 1; null where it is not under way. */
  showProgress(share) {
    this.find(".working").hidden = share === null;
    if (share !== null) {
      this.find(".where").hidden = true;
      this.find("progress").value = share;
    }
  }
}

/** Writes the score of one prediction and draws its growth chart, or nothing without an age. */
function showScore(root, prediction, sex, known, clinical) {
  const { score, summaries } = measuresOf(prediction, sex, known, clinical);
  const growth = root.querySelector(".growth");
  growth.hidden = score?.sds == null;
  const details = growth.hidden ? summaries : [scoreDetail(score), ...summaries.slice(1)];
  root.querySelector(".details").textContent = details.map(capitalised).join("\n");
  root.querySelector(".score").textContent = growth.hidden ? "" : scoreHeadline(score);
  if (growth.hidden) {
    delete root.dataset.sds;
    return;
  }
  root.dataset.sds = score.sds; // unrounded, for programs
  const { age: boneAge, lower, upper } = prediction;
  const study = { age: known.ageMonths, boneAge, lower, upper };
  const host = document.createElement("div");
  growth.querySelector(".chart").replaceChildren(host);
  drawGrowthChart(host, study, sex, summaries[0], clinical);
  const { name, mean_months: means } = clinical.references[score.reference];
  const mean = means[sex] ? "; dotted: mean bone age of the reference" : "";
  growth.querySelector("figcaption").textContent =
    `Band: chronological age ± ${clinical.normal_sds} SD, ${name}${mean}.`;
}

function scoreHeadline({ assessment, sds }) {
  return `${capitalised(assessment)}, ${signed(sds, 1)} SD`;
}

function scoreDetail({ sd_months: sd, reference_name: name }) {
  return `One SD is ${rounded(sd, 1)} months at this age: ${name}`;
}

function capitalised(words) {
  return words[0].toUpperCase() + words.slice(1);
}

/** Returns what is known about the child, for paper, where the questions are not printed. */
function inPrint({ sex, ageMonths, side, heightCm }) {
  const parts = [
    `Sex: ${sex ?? "unknown"}`,
    `chronological age: ${ageMonths === null ? "unknown" : inYears(ageMonths)}`,
    ...(side ? [`side: ${side}`] : []),
    ...(heightCm === null ? [] : [`height: ${rounded(heightCm, 1)} cm`]),
  ];
  return `${parts.join("; ")}.`;
}

function axisOf({ distribution }, metadata, settings) {
  const said = metadata.outputs.distribution;
  if (!distribution || !said) {
    const { least_age_months: first, most_age_months: last } = settings;
    return { first, step: 0, last };
  }
  const { first_edge_months: first, bin_months: step } = said;
  return { first, step, last: first + step * distribution.length };
}
