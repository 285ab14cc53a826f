// The page's side of the worker: a promise for each task, and a new worker where one has died.

const GONE = "the browser stopped reading it, perhaps for lack of memory; reduce the image first";

export class Reader {
  constructor() {
    this.waiting = new Map();
    this.last = 0;
    this.ready = new Promise((resolve) => (this.start = resolve));
  }

  /** Starts the worker and loads the models; returns { settings, metadata, runtime }. */
  async load() {
    this.worker = new Worker(new URL("./worker.js", import.meta.url));
    this.worker.addEventListener("message", ({ data }) => this.hear(data));
    this.worker.addEventListener("error", (event) => {
      event.preventDefault();
      this.lose();
    });
    const loaded = this.ask("load");
    this.start(loaded); // what was asked before waits for it
    this.ready = loaded;
    // Behind what waits already, if anything does.
    loaded.then(() => this.ask("warmUp")).catch(() => {});
    return loaded;
  }

  read(file) {
    return this.doTask("read", { file });
  }

  predict(fitted, sex) {
    return this.doTask("predict", { fitted, sex });
  }

  /** Returns { result, stop }: a promise for the map, null where it was stopped. */
  occlude(fitted, sexes, progress) {
    const id = ++this.last;
    const result = this.ready.then(() => this.ask("occlude", { fitted, sexes }, id, progress));
    return { result, stop: () => this.worker.postMessage({ task: "stop", id }) };
  }

  async doTask(task, content) {
    await this.ready;
    return this.ask(task, content);
  }

  ask(task, content = {}, id = ++this.last, progress = null) {
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject, progress });
      this.worker.postMessage({ ...content, task, id });
    });
  }

  hear({ id, result, error, progress }) {
    const waiting = this.waiting.get(id);
    if (!waiting) return;
    if (progress !== undefined) {
      waiting.progress?.(progress);
      return;
    }
    this.waiting.delete(id);
    if (error === undefined) waiting.resolve(result);
    else waiting.reject(new Error(error));
  }

  /** The worker has died: what it had begun fails, and another takes its place. */
  lose() {
    const lost = [...this.waiting.values()];
    this.waiting.clear();
    this.worker.terminate();
    for (const { reject } of lost) reject(new Error(GONE));
    if (this.died) return; // twice in a row: it would die again
    this.died = true;
    this.load().then(
      () => (this.died = false),
      () => {},
    );
  }
}
