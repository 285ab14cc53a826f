// Keeps the page for use without a network, through the service worker.

const PATIENCE_MS = 4_000;

/**
 * Registers the service worker and waits until it answers for this page, so that what is loaded next
 * is kept.
 */
export async function keepOffline() {
  if (!navigator.serviceWorker) return;
  try {
    const { active, installing } = await navigator.serviceWorker.register("sw.js", {
      updateViaCache: "none",
    });
    const isPassedBy = active && !installing; // by a forced reload, which it will not hear of
    if (!isPassedBy) await Promise.race([controlled(), failAfter(PATIENCE_MS)]);
  } catch {
    // Private windows and some settings forbid it; the page works all the same, online.
  }
}

/** Waits until a file of the page, by its path, is kept; says whether it is. */
export async function isKept(path) {
  if (!navigator.serviceWorker) return false;
  const patience = navigator.serviceWorker.controller ? PATIENCE_MS : 0;
  const end = performance.now() + patience;
  while (!(await caches.match(new URL(path, document.baseURI)))) {
    if (performance.now() > end) return false;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return true;
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
