"use strict";
const form = document.querySelector("form");
const list = document.querySelector("main");
const cards = [...list.children];

// Cases without a value come last in either direction.
function compare(a, b, key, direction) {
  const [x, y] = [a.dataset[key], b.dataset[key]];
  if (!x || !y) return Number(!x) - Number(!y);
  const numbers = [Number(x), Number(y)];
  const order = numbers.some(Number.isNaN) ? x.localeCompare(y) : numbers[0] - numbers[1];
  return order * direction;
}

function sort() {
  const direction = form.direction.value === "down" ? -1 : 1;
  cards.sort((a, b) => compare(a, b, form.sort.value, direction));
  list.append(...cards);
}

function show() {
  const method = form.method.value;
  for (const element of document.querySelectorAll("[data-method]")) {
    element.hidden = element.dataset.method !== method;
  }
  for (const element of document.querySelectorAll(".boxes")) element.toggleAttribute("hidden", !form.boxes.checked);
  document.documentElement.style.setProperty("--opacity", form.opacity.value / 100);
}

form.addEventListener("input", () => { sort(); show(); });
form.addEventListener("submit", (event) => event.preventDefault());
sort();
show();
