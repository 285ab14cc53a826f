// Keeps the page for use without a network, through the service worker.

const PATIENCE_MS = 4_000;

/**
 * Registers the service worker and waits until it answers for this page, so that what is loaded
 * next is kept. Returns whether the page will work offline.
 */
export async function keepOffline() {
  if (!navigator.serviceWorker) return false;
  try {
    await navigator.serviceWorker.register("sw.js", { updateViaCache: "none" });
    await Promise.race([controlled(), failAfter(PATIENCE_MS)]);
    return true;
  } catch {
    return false; // private windows and some settings forbid it; the page works all the same
  }
}

function controlled() {
  if (navigator.serviceWorker.controller) return Promise.resolve();
  return new Promise((resolve) => {
    navigator.serviceWorker.addEventListener("controllerchange", resolve, { once: true });
  });
}

function failAfter(milliseconds) {
  return new Promise((_, reject) => setTimeout(reject, milliseconds));
}
