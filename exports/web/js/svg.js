// Elements of SVG.

const SVG = "http://www.w3.org/2000/svg";

export function node(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

export function text(words, x, y, anchor, kind = "") {
  const element = node("text", { x, y, "text-anchor": anchor, class: kind });
  element.textContent = words;
  return element;
}

/** Draws again whenever the width of the host changes; draw takes the width in pixels. */
export function drawAtWidth(host, draw) {
  const redraw = () => {
    const width = Math.round(host.clientWidth);
    if (width > 0) host.replaceChildren(draw(width));
  };
  new ResizeObserver(redraw).observe(host);
}
