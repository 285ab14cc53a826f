// From a file's bytes to an answer: decoded, looked at, fitted, read. Runs in the worker.

import { decode } from "./decode.js";
import { checkSize, ImageError } from "./errors.js";
import { look } from "./film_check.js";
import { findHand, fitHand, framed } from "./frame.js";
import { fit, shrunk } from "./image.js";
import { SEX_NAMES } from "./known_facts.js";
import { compareRegions } from "./regions.js";
import { loadRuntime, Model } from "./runtime.js";

const PREVIEW_PX = 640;
const COVER_CELLS = 8;

/** Says whether an output of a model is a map of where it looks. */
export function isMap(name) {
  return name === "map" || name.startsWith("attention_");
}

export class Pipeline {
  constructor(settings, runtime, networks, described) {
    const [model, check, detector] = networks;
    const [metadata, checkMetadata] = described;
    Object.assign(this, { settings, runtime, model, check, detector, metadata, checkMetadata });
    this.sizePx = metadata.preprocessing.size_px;
  }

  /** Loads what the page's folder holds; base is the page's address. */
  static async load(base) {
    const settings = await json(base, "settings.json");
    const used = [settings.model, settings.film_check, settings.region_detector];
    // All at once: what takes longest is the way here.
    const described = used.map((it) => it && json(base, `${it.folder}/metadata.json`));
    const contents = used.map((it) => it && content(base, `${it.folder}/${it.file}`));
    const { litert, file: runtime } = await loadRuntime(base, settings.threads);
    const networks = [];
    for (const bytes of contents) {
      networks.push(bytes && (await Model.compile(litert, await bytes, settings.signature)));
    }
    return new Pipeline(settings, runtime, networks, await Promise.all(described));
  }

  /** Runs each network once on nothing, so that the first image does not wait for it. */
  async warmUp() {
    await this.predict(new Float32Array(this.sizePx ** 2), 0);
    if (this.check) await this.ask(new Float32Array(this.checkMetadata.size_px ** 2));
    if (this.detector) await this.regions(new Float32Array(this.settings.frame.size_px ** 2));
  }

  /**
   * Reads a file and makes it ready for the model.
   *
   * Returns { status, reason, corrections, facts, isChecked, preview, fitted, place }: status ok,
   * failed or rejected; reason, why there is no prediction; corrections in words; facts, what a DICOM
   * file states, see readFacts, or null; isChecked, whether the quality check ran; preview, what to
   * show, { width, height, levels }; fitted, what the model takes, and where in it the preview lies,
   * { top, left, height, width }.
   */
  async read(file) {
    let film;
    try {
      checkSize(file.size, this.settings);
      film = await decode(await bytesOf(file), this.settings, file.name);
    } catch (error) {
      if (error instanceof ImageError) return { status: "failed", reason: error.message };
      if (error instanceof RangeError) {
        return { status: "failed", reason: "too large for this browser's memory; reduce it first" };
      }
      throw error;
    }
    const { facts } = film;
    const isChecked = Boolean(this.check);
    let [image, hand, words] = [film, null, []];
    const find = this.detector && ((it) => this.find(it));
    if (this.check) {
      const ask = (it) => this.ask(it);
      const looked = await look(film, this.checkMetadata, this.settings, ask, find);
      if (!looked.image) {
        const { reason } = looked;
        return { status: "rejected", reason, facts, isChecked, preview: previewOf(film) };
      }
      ({ image, hand, words } = looked);
    }
    if (find) hand ??= await find(image);
    const fitted = hand
      ? fitHand(image, hand, this.sizePx, this.settings)
      : fit(image, this.sizePx, this.metadata.preprocessing.resize);
    const corrections = [...words, ...(fitted.words ?? [])];
    const isFramed = hand?.isCertain;
    const shown = isFramed ? framed(image, hand, PREVIEW_PX, this.settings.frame) : image;
    const { square, place } = fitted;
    const ready = { preview: previewOf(shown), fitted: square.pixels, place };
    return { status: "ok", reason: "", corrections, facts, isChecked, ...ready };
  }

  async find(image) {
    return findHand(image, this.settings.frame, (pixels) => this.regions(pixels));
  }

  async regions(pixels) {
    const side = this.settings.frame.size_px;
    const found = await this.detector.run({ image: { data: pixels, shape: [1, side, side, 1] } });
    return { boxes: found.region_boxes.data, scores: found.region_scores.data };
  }

  async ask(pixels) {
    const side = this.checkMetadata.size_px;
    const said = await this.check.run({ image: { data: pixels, shape: [1, side, side, 1] } });
    return Object.fromEntries(Object.entries(said).map(([name, { data }]) => [name, data]));
  }

  /** Estimates the age in a fitted image; sex: 0 female, 1 male, as the metadata says. */
  async predict(fitted, sex) {
    const side = this.sizePx;
    const found = await this.model.run({
      image: { data: fitted, shape: [1, side, side, 1] },
      sex: { data: Float32Array.of(sex), shape: [1, 1] },
    });
    const interval = found.interval_90_months?.data;
    const maps = Object.entries(found).filter(([name]) => isMap(name));
    return {
      age: found.age_months.data[0],
      lower: interval ? interval[0] : null,
      upper: interval ? interval[1] : null,
      distribution: found.distribution?.data ?? null,
      unfamiliarity: found.unfamiliarity?.data[0] ?? null,
      regions: compareRegions(found, this.metadata.regions, SEX_NAMES[sex]),
      maps: maps.map(([name, { data, shape }]) => ({
        name,
        height: shape[1],
        width: shape[2],
        values: data,
      })),
    };
  }

  /**
   * Covers the image piece by piece with its mean grey and asks how far the age moves (occlusion
   * sensitivity, Zeiler and Fergus 2014, doi 10.1007/978-3-319-10590-1_53). Needs no gradient.
   *
   * Returns { height, width, values }: the change in months, of either sign, averaged over sexes.
   */
  async occlude(fitted, sexes, progress, isStopped) {
    const side = this.sizePx;
    const cells = Math.min(COVER_CELLS, side);
    const values = new Float32Array(cells * cells);
    const mean = fitted.reduce((sum, value) => sum + value, 0) / fitted.length;
    const edges = Array.from({ length: cells + 1 }, (_, i) => Math.round((i * side) / cells));
    const whole = [];
    for (const sex of sexes) whole.push((await this.predict(fitted, sex)).age);
    for (let cell = 0; cell < cells * cells; cell++) {
      const row = Math.floor(cell / cells);
      const column = cell % cells;
      const covered = fitted.slice();
      for (let y = edges[row]; y < edges[row + 1]; y++) {
        covered.fill(mean, y * side + edges[column], y * side + edges[column + 1]);
      }
      for (const [place, sex] of sexes.entries()) {
        const { age } = await this.predict(covered, sex);
        values[cell] += Math.abs(age - whole[place]) / sexes.length;
      }
      progress((cell + 1) / (cells * cells));
      await new Promise((resolve) => setTimeout(resolve)); // so that a stop is heard
      if (isStopped()) return null;
    }
    return { height: cells, width: cells, values };
  }
}

async function get(base, path) {
  const answer = await fetch(new URL(path, base));
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

async function json(base, path) {
  return (await get(base, path)).json();
}

async function content(base, path) {
  return new Uint8Array(await (await get(base, path)).arrayBuffer());
}

async function bytesOf(file) {
  try {
    return new Uint8Array(await file.arrayBuffer());
  } catch {
    throw new ImageError("cannot be read; is it a folder, or was it moved or changed?");
  }
}

function previewOf(image) {
  const { width, height, pixels } = shrunk(image, PREVIEW_PX);
  return { width, height, levels: Uint8ClampedArray.from(pixels) };
}
