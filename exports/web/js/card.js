// One image on the page: its film, the question for the sex, its answers and maps.

import { drawFilm, drawLegend, drawMap } from "./overlay.js";
import { drawPlot } from "./plot.js";
import { inYears, rounded, SEX_NAMES } from "./table.js";

const COVERED = "covered";

export class Card {
  /** handlers: { chooseSex, remove, copy, showWhere, stopWhere }, called without the card. */
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
    this.find("fieldset").setAttribute("aria-describedby", name.id);
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

  say(words, kind = "") {
    const message = this.find(".message");
    message.className = `message ${kind}`;
    message.textContent = words;
  }

  showFilm({ preview }) {
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
    this.find("fieldset").hidden = film !== null && film.status !== "ok";
    this.find(".copy").hidden = !verdict;
    this.find(".where").hidden = !isOk;
    this.forgetMaps();
    if (!verdict) {
      this.say(film ? "Choose the sex to read this image." : "Opening…");
      return;
    }
    if (!isOk) {
      const start = verdict.status === "rejected" ? "Not read: " : "Could not be read: ";
      this.say(start + verdict.reason, verdict.status);
      return;
    }
    this.say(verdict.reason ? verdict.reason[0].toUpperCase() + verdict.reason.slice(1) : "");
    for (const [place, prediction] of predictions.entries()) {
      this.addAnswer(prediction, SEX_NAMES[sexes[place]], metadata, settings);
      for (const map of prediction.maps) {
        const whose = predictions.length > 1 ? `, ${SEX_NAMES[sexes[place]]}` : "";
        this.addMap(`${map.name}${whose}`, { map, unit: metadata.outputs[map.name]?.unit });
      }
    }
    const [first] = this.maps.keys();
    if (first) this.showMap(first);
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

function axisOf({ distribution }, metadata, settings) {
  const said = metadata.outputs.distribution;
  if (!distribution || !said) {
    const { least_age_months: first, most_age_months: last } = settings;
    return { first, step: 0, last };
  }
  const { first_edge_months: first, bin_months: step } = said;
  return { first, step, last: first + step * distribution.length };
}
