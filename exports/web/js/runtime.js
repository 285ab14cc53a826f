// LiteRT.js: models loaded from this folder, run one image at a time, every tensor deleted.

const WASM = "litert/wasm/";

/**
 * Loads LiteRT.js; call once, in a classic worker.
 *
 * Returns { litert, file }: the library, and the path of the WebAssembly that it took, which depends
 * on the browser and, where threads are wanted, on the page's headers.
 */
export async function loadRuntime(base, wantsThreads) {
  // The graphics processor is left alone: its answers differ from device to device.
  Object.defineProperty(navigator, "gpu", { value: null, configurable: true });
  const quiet = console.warn;
  console.warn = () => {}; // LiteRT.js warns that there is no WebGPU
  try {
    const litert = await import("../litert/index.js");
    const canThread = crossOriginIsolated && (navigator.hardwareConcurrency ?? 1) > 1;
    if (wantsThreads && canThread && (await litert.supportsFeature("relaxedSimd"))) {
      try {
        return { litert, file: await start(litert, base, { threads: true }) };
      } catch {
        litert.unloadLiteRt();
      }
    }
    return { litert, file: await start(litert, base, {}) };
  } finally {
    console.warn = quiet;
  }
}

async function start(litert, base, options) {
  const folder = new URL(WASM, base).href;
  let file = null;
  self.Module = {
    locateFile: (name) => {
      file = WASM + name;
      return folder + name;
    },
    mainScriptUrlOrBlob: `${folder}litert_wasm_threaded_internal.js`,
    print: () => {},
    printErr: () => {}, // its notes come this way; errors are thrown
  };
  await litert.loadLiteRt(folder, options);
  return file;
}

/** One LiteRT file and its signature. */
export class Model {
  constructor(litert, compiled, signature) {
    this.litert = litert;
    this.compiled = compiled;
    this.signature = signature;
  }

  /** bytes: of a LiteRT file. */
  static async compile(litert, bytes, signature) {
    const compiled = await litert.loadAndCompile(bytes, { accelerator: "wasm" });
    return new Model(litert, compiled, signature);
  }

  /**
   * Runs the model. inputs: { name: { data, shape } }, data a Float32Array.
   *
   * Returns { name: { data, shape } } for every output; throws where a value is not finite.
   */
  async run(inputs) {
    const tensors = {};
    let outputs = {};
    const found = {};
    try {
      for (const [name, { data, shape }] of Object.entries(inputs)) {
        tensors[name] = new this.litert.Tensor(data, shape);
      }
      outputs = await this.compiled.run(this.signature, tensors);
      for (const [name, tensor] of Object.entries(outputs)) {
        const data = await tensor.data();
        if (!data.every(Number.isFinite)) {
          throw new Error(`the model's prediction for ${name} is not a finite number`);
        }
        found[name] = { data, shape: Array.from(tensor.type.layout.dimensions) };
      }
    } finally {
      for (const tensor of [...Object.values(tensors), ...Object.values(outputs)]) tensor.delete();
    }
    return found;
  }
}
