// The map of experts: a row a layer, a column an expert, the warmer the more it was picked; below it who holds what.

import { $, el } from "./dom.js";
import { count as counted, figure } from "./figures.js";

const HUES = [172, 28, 250, 92, 330, 205, 50, 8];

let heat = null;

export const colour = (index) => `hsl(${HUES[index % HUES.length]} 32% 54%)`;

export function startHeat() {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawHeat());
  new ResizeObserver(() => drawHeat()).observe($("heat"));
  $("heat").addEventListener("pointermove", showPick);
  $("heat").addEventListener("pointerleave", showHeatWords);
}

// Who holds which columns of the map; what no worker holds stays in the colour of an error.
export function drawRuler(workers) {
  if (!heat) return;
  const experts = heat.layers[0].length;
  const parts = [];
  workers.forEach((worker, index) => {
    if (worker.state !== "serving") return;
    for (const range of worker.experts.split(",")) {
      const [first, end = first] = range.split("-").map(Number);
      const part = el("i");
      part.style.left = `${(100 * first) / experts}%`;
      part.style.width = `${(100 * (end - first + 1)) / experts}%`;
      part.style.background = colour(index);
      parts.push(part);
    }
  });
  $("ruler").replaceChildren(...parts);
}

function stops() {
  const style = getComputedStyle(document.documentElement);
  return [0, 1, 2, 3].map((index) => {
    const hex = style.getPropertyValue(`--heat-${index}`).trim();
    return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  });
}

function mixed(palette, value) {
  const place = Math.min(value, 0.9999) * (palette.length - 1);
  const [from, to] = [palette[Math.floor(place)], palette[Math.floor(place) + 1]];
  return from.map((channel, index) => channel + (to[index] - channel) * (place % 1));
}

export function drawHeat(newest = heat) {
  heat = newest;
  if (!heat || !$("heat").clientWidth) return;
  const [layers, experts] = [heat.layers.length, heat.layers[0].length];
  const canvas = $("heat");
  const rowHeight = Math.max(4, Math.min(16, 264 / layers));
  canvas.style.height = `${Math.round(layers * rowHeight)}px`;
  canvas.width = experts;
  canvas.height = layers;
  const image = new ImageData(experts, layers);
  const palette = stops();
  heat.layers.forEach((row, layer) => {
    const even = Math.max(row.reduce((sum, count) => sum + count, 0) / experts, 1e-9);
    // An even share lies at a third of the palette, whatever the layer and however long it ran.
    row.forEach((count, expert) => image.data.set([...mixed(palette, count / (count + 2 * even)), 255], 4 * (layer * experts + expert)));
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  $("heat-window").textContent = `last ${heat.window_seconds / 60} minutes`;
}

const heatWords = $("heat-words").textContent;

function showHeatWords() {
  $("heat-words").textContent = heatWords;
}

function showPick(event) {
  if (!heat) return;
  const box = $("heat").getBoundingClientRect();
  const row = heat.layers[Math.floor(((event.clientY - box.top) / box.height) * heat.layers.length)];
  const expert = Math.floor(((event.clientX - box.left) / box.width) * heat.layers[0].length);
  const count = row?.[expert];
  if (count === undefined) return;
  const all = row.reduce((sum, picks) => sum + picks, 0);
  const times = all ? `, ${figure((count * row.length) / all)} times an even share` : "";
  $("heat-words").textContent = `Layer ${heat.layers.indexOf(row)}, expert ${expert}: ${counted(count)} picks${times}`;
}

