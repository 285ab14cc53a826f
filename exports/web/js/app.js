// The page: takes files, asks for the sex and the age, queues the files and shows the results.

import { Card } from "./card.js";
import { SEX_NAMES } from "./known_facts.js";
import { isKept, keepOffline } from "./offline.js";
import { Reader } from "./reader.js";
import { toJsonObject } from "./result_json.js";
import { inWords, judge, rowsOf, toCsv } from "./table.js";

const SEXES = { female: [0], male: [1], both: [0, 1] };
const byId = (id) => document.getElementById(id);

const reader = new Reader();
const items = [];
let last = 0;
let model = null; // { settings, metadata, runtime } once loaded
let reading = Promise.resolve();

start();

async function start() {
  listen();
  await keepOffline();
  try {
    model = await reader.load();
  } catch (error) {
    ready("failed", `The model could not be loaded (${error.message}). Load the page again.`);
    return;
  }
  describe(model);
  ready("ready", "Ready.");
  showBar();
  const { folder, file } = model.settings.model;
  const kept = await Promise.all([model.runtime, `${folder}/${file}`].map(isKept));
  if (kept.every(Boolean)) ready("ready", "Ready. Works offline.");
}

function ready(state, words) {
  byId("ready").dataset.state = state;
  byId("ready-text").textContent = words;
}

function listen() {
  for (const button of document.querySelectorAll("[data-opens]")) {
    button.addEventListener("click", () => byId(button.dataset.opens).click());
    byId(button.dataset.opens).addEventListener("change", ({ target }) => {
      add(target.files);
      target.value = "";
    });
  }
  const drop = byId("add");
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    add(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => add(event.clipboardData.files));
  byId("csv").addEventListener("click", saveCsv);
  byId("json").addEventListener("click", saveJson);
  byId("copy-all").addEventListener("click", () => copy(answered()));
  byId("print").addEventListener("click", () => window.print());
  byId("clear").addEventListener("click", () => {
    for (const item of [...items]) remove(item);
    document.querySelector("[data-opens]").focus();
  });
  for (const button of document.querySelectorAll("#ask-all button")) {
    button.addEventListener("click", () => chooseForAll(button.dataset.sex));
  }
  drop.dataset.listens = ""; // from here on nothing that is dropped or chosen is lost
}

function add(files) {
  const added = Array.from(files, (file) => {
    const item = { id: ++last, file, name: file.name, film: null, sexes: null };
    Object.assign(item, { sexSource: null, ageMonths: null, ageSource: null });
    Object.assign(item, { verdict: null, predictions: [], covering: null });
    item.card = new Card(item, {
      chooseSex: (value) => chooseSex(item, value),
      giveAge: (months) => giveAge(item, months),
      remove: () => remove(item, true),
      copy: () => copy([item]),
      showWhere: () => showWhere(item),
      stopWhere: () => item.covering?.stop(),
    });
    items.push(item);
    byId("cards").append(item.card.root);
    item.card.update(model?.metadata, model?.settings);
    return item;
  });
  if (!added.length) return;
  byId("results").hidden = false;
  tell(`${added.length === 1 ? added[0].name : `${added.length} images`} added. Choose the sex.`);
  for (const item of added) reading = reading.then(() => open(item));
  showBar();
}

/** Opens an image; where its sex is known by then, reads it too. */
async function open(item) {
  if (!items.includes(item)) return;
  try {
    item.film = await reader.read(item.file);
    item.film.sizePx = model.metadata.preprocessing.size_px;
  } catch (error) {
    item.film = { status: "failed", reason: error.message };
  }
  item.file = null;
  takeFacts(item);
  item.card.showFilm(item.film);
  if (item.film.status === "ok" && !item.sexes) item.card.update();
  else await read(item);
  showBar();
}

/** Takes the sex and the age that a DICOM file states, unless they were given before. */
function takeFacts(item) {
  const { facts } = item.film;
  if (!facts) return;
  const source = model.settings.clinical.from_file;
  if (!item.sexes && facts.sex) {
    Object.assign(item, { sexes: [SEX_NAMES.indexOf(facts.sex)], sexSource: source });
    item.card.checkSex(facts.sex);
  }
  if (item.ageSource === null && facts.ageMonths !== null) {
    Object.assign(item, { ageMonths: facts.ageMonths, ageSource: source });
    item.card.showAge(facts.ageMonths);
  }
}

/** Takes the chronological age in months, null for unknown; the bone age does not depend on it. */
function giveAge(item, months) {
  const { sex_source: source, clinical } = model?.settings ?? {};
  const isUsable =
    months !== null && months >= 0 && months <= (clinical?.oldest_months ?? Infinity);
  Object.assign(item, { ageMonths: isUsable ? months : null, ageSource: source ?? "flag" });
  if (!model) return;
  item.card.showMeasures(model.settings);
  if (item.verdict) tell(inWords(item, model.settings));
}

function chooseSex(item, value) {
  Object.assign(item, { sexes: SEXES[value], sexSource: model?.settings.sex_source ?? "flag" });
  item.card.checkSex(value);
  if (item.film) reading = reading.then(() => read(item));
  showBar();
}

function chooseForAll(value) {
  const asked = undecided();
  for (const item of asked) chooseSex(item, value);
  if (asked.length) asked[0].card.root.focus();
}

async function read(item) {
  if (!items.includes(item)) return;
  const { film, sexes } = item;
  const predictions = [];
  item.covering?.stop();
  try {
    if (film.status === "ok") {
      for (const sex of sexes) predictions.push(await reader.predict(film.fitted, sex));
    }
    item.verdict = judge(film, predictions, model.settings);
  } catch (error) {
    item.verdict = { status: "failed", reasons: [error.message] };
  }
  item.predictions = predictions;
  item.card.update(model?.metadata, model?.settings);
  if (model) tell(inWords(item, model.settings));
  showBar();
}

async function showWhere(item) {
  const { film, sexes, card } = item;
  card.showProgress(0);
  card.find(".stop").focus();
  const covering = reader.occlude(film.fitted, sexes, (share) => card.showProgress(share));
  item.covering = covering;
  let map = null;
  try {
    map = await covering.result;
  } catch (error) {
    card.say(error.message, "failed");
  }
  if (item.covering !== covering || sexes !== item.sexes) return;
  item.covering = null;
  card.showProgress(null);
  card.find(".where").hidden = false;
  if (!map) {
    card.find(".where").focus();
    return;
  }
  card.addCovered(map);
  card.find(".opacity input").focus();
  tell(`${item.name}: the age moves by up to ${Math.max(...map.values).toFixed(1)} months.`);
}

function remove(item, movesFocus = false) {
  const place = items.indexOf(item);
  items.splice(place, 1);
  item.covering?.stop();
  item.card.root.remove();
  byId("results").hidden = !items.length;
  if (movesFocus) {
    const next = items[place] ?? items[place - 1];
    (next ? next.card.root : byId("add")).focus();
  }
  showBar();
}

function undecided() {
  return items.filter(
    (item) => !item.sexes && item.film?.status !== "failed" && item.film?.status !== "rejected",
  );
}

function answered() {
  return items.filter((item) => item.verdict);
}

function showBar() {
  const open = undecided().length;
  byId("ask-all").hidden = open < 2;
  byId("ask-all-text").textContent = `${open} images wait for the sex of the child.`;
  const none = !model || !answered().length;
  for (const id of ["csv", "json", "copy-all", "print"]) byId(id).disabled = none;
  byId("results-title").textContent = items.length === 1 ? "1 image" : `${items.length} images`;
}

function saveCsv() {
  const rows = answered().flatMap((item) => rowsOf(item, model.settings));
  save("predictions.csv", "text/csv", toCsv(rows, model.settings));
}

/** Saves an object for each radiograph, as bone-age predict writes .json files. */
function saveJson() {
  const objects = answered().map((item) => toJsonObject(item, model));
  save("predictions.json", "application/json", `${JSON.stringify(objects, null, 2)}\n`);
}

function save(name, type, text) {
  const link = Object.assign(document.createElement("a"), { download: name });
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function copy(chosen) {
  const { name, version } = model.metadata;
  const lines = chosen.map((item) => inWords(item, model.settings));
  lines.push(`Read by ${name} version ${version}. Research use; not a medical device.`);
  try {
    await navigator.clipboard.writeText(lines.join("\n"));
    tell("Copied.");
  } catch {
    tell("The browser does not allow copying; mark the text instead.");
  }
}

/** Says something to those who listen to the page. */
function tell(words) {
  byId("live").textContent = words;
}

function describe({ settings, metadata }) {
  const { name, version, data, metrics, preprocessing, site_calibration: site } = metadata;
  const facts = [["Model", `${name}, version ${version} (${settings.variant})`]];
  if (data) {
    const count = data.train_images.toLocaleString("en");
    facts.push(["Learned from", `${count} images of ${data.name} (${data.train})`]);
  }
  const error = metrics?.mae_months;
  if (error) {
    const ends =
      error.low === null
        ? ""
        : ` (95 % interval ${error.low.toFixed(1)} to ${error.high.toFixed(1)})`;
    const where = data ? `, ${data.tested_on}` : "";
    facts.push([
      "Mean error",
      `${error.value.toFixed(1)} months${ends} on ${metrics.n.toLocaleString("en")} images${where}`,
    ]);
  }
  facts.push(["Sees", `${preprocessing.size_px} x ${preprocessing.size_px} pixels of each image`]);
  facts.push([
    "Films",
    settings.film_check
      ? `checked first by film_check, version ${settings.film_check.version}`
      : "not checked",
  ]);
  const { references, reference } = settings.clinical;
  facts.push(["Standard deviations", references[reference].name]);
  if (site) facts.push(["Site", "corrected for one site, by its own cases"]);
  facts.push(["Use", metadata.intended_use ?? "Research only. Not a medical device."]);
  facts.push(["Page version", settings.version]);
  byId("about").replaceChildren(
    ...facts.flatMap(([term, words]) => [
      Object.assign(document.createElement("dt"), { textContent: term }),
      Object.assign(document.createElement("dd"), { textContent: words }),
    ]),
  );
}
