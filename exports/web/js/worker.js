// The worker that decodes and reads, so that the page stays alive meanwhile.
//
// A classic worker, since LiteRT.js loads its runtime with importScripts, which module workers lack.

"use strict";

const base = new URL("..", self.location.href).href;
const stopped = new Set();
let pipeline = null;
let queue = Promise.resolve();

async function load() {
  const { Pipeline } = await import("./pipeline.js");
  pipeline = await Pipeline.load(base);
  const { settings, metadata, runtime } = pipeline;
  return { settings, metadata, runtime };
}

const tasks = {
  load,
  warmUp: () => pipeline.warmUp(),
  read: ({ file }) => pipeline.read(file),
  predict: ({ fitted, sex }) => pipeline.predict(fitted, sex),
  occlude: ({ id, fitted, sexes }) =>
    pipeline.occlude(
      fitted,
      sexes,
      (share) => self.postMessage({ id, progress: share }),
      () => stopped.has(id),
    ),
};

self.addEventListener("message", ({ data }) => {
  if (data.task === "stop") {
    stopped.add(data.id);
    return;
  }
  queue = queue.then(async () => {
    try {
      self.postMessage({ id: data.id, result: await tasks[data.task](data) });
    } catch (error) {
      self.postMessage({ id: data.id, error: String(error?.message ?? error) });
    }
  });
});
