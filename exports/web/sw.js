// Keeps the page on the device, so that it works offline. One cache for each version of the page.
//
// files.js is written when the page is built: the version, a hash of all that the page consists of;
// `first`, which every browser needs; and `later`, of which a browser needs some, such as one of the
// runtimes: they are kept when they are first asked for.

"use strict";

importScripts("files.js");

const { version, first, later } = self.PAGE;
const PREFIX = "bone-age-";
const CACHE = PREFIX + version;
const ROOT = new URL("./", self.location.href).href;
const kept = new Set([...first, ...later].map((path) => new URL(path, ROOT).href));

self.addEventListener("install", (event) => event.waitUntil(fill()));

async function fill() {
  const cache = await caches.open(CACHE);
  const before = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
  const wanted = new Set(first);
  for (const name of before) {
    const old = await caches.open(name);
    for (const path of later) {
      if (await old.match(new URL(path, ROOT).href)) wanted.add(path);
    }
  }
  // The server is asked whether its copy is newer; an old one must not get into the new cache.
  await cache.addAll([...wanted].map((path) => new Request(path, { cache: "no-cache" })));
}

self.addEventListener("activate", (event) => event.waitUntil(takeOver()));

async function takeOver() {
  for (const name of await caches.keys()) {
    if (name.startsWith(PREFIX) && name !== CACHE) await caches.delete(name);
  }
  await self.clients.claim();
}

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  url.search = "";
  url.hash = "";
  if (url.href === `${ROOT}index.html`) url.href = ROOT;
  if (event.request.method === "GET" && kept.has(url.href)) {
    event.respondWith(answer(url.href, event));
  }
});

async function answer(address, event) {
  const cache = await caches.open(CACHE);
  const found = await cache.match(address);
  if (found) return found;
  const fetched = await fetch(event.request);
  if (fetched.ok) {
    // The page does not wait for it; where there is no room left, it works all the same, online.
    event.waitUntil(cache.put(address, fetched.clone()).catch(() => {}));
  }
  return fetched;
}
