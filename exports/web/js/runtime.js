// LiteRT.js: models loaded from this folder, run one image at a time, every tensor deleted.

const WASM = "litert/wasm/";

/** Loads LiteRT.js with threads where the browser allows them; call once, in a classic worker. */
export async function loadRuntime(base) {
  // The graphics processor is left alone: its answers differ from device to device.
  Object.defineProperty(navigator, "gpu", { value: null, configurable: true });
  const quiet = console.warn;
  console.warn = () => {}; // LiteRT.js warns that there is no WebGPU
  try {
    const litert = await import("../litert/index.js");
    const folder = new URL(WASM, base).href;
    const cores = navigator.hardwareConcurrency ?? 1;
    if (crossOriginIsolated && cores > 1 && (await litert.supportsFeature("relaxedSimd"))) {
      try {
        await start(litert, folder, { threads: true });
        return litert;
      } catch {
        litert.unloadLiteRt();
      }
    }
    await start(litert, folder, {});
    return litert;
  } finally {
    console.warn = quiet;
  }
}

async function start(litert, folder, options) {
  self.Module = {
    locateFile: (name) => folder + name,
    mainScriptUrlOrBlob: `${folder}litert_wasm_threaded_internal.js`,
    print: () => {},
    printErr: () => {}, // its notes come this way; errors are thrown
  };
  await litert.loadLiteRt(folder, options);
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
          throw new Error(`the model's answer for ${name} is not a finite number`);
        }
        found[name] = { data, shape: Array.from(tensor.type.layout.dimensions) };
      }
    } finally {
      for (const tensor of [...Object.values(tensors), ...Object.values(outputs)]) tensor.delete();
    }
    return found;
  }
}
