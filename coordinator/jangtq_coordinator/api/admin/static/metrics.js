// What /metrics says, over the last minute: how counters rose, means of histograms, and the panel's figures.

import { $, describe } from "./dom.js";
import { bytes, figure, milliseconds } from "./figures.js";

const WINDOW_SAMPLES = 30;

const samples = [];

export function takeMetrics(text) {
  samples.push({ at: performance.now() / 1000, values: parseMetrics(text) });
  if (samples.length > WINDOW_SAMPLES) samples.shift();
}

// Sums the samples of each name over their labels; those of one label value stand under "name label".
export function parseMetrics(text) {
  const values = new Map();
  const add = (name, value) => values.set(name, (values.get(name) ?? 0) + value);
  for (const [, name, labels, value] of text.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm)) {
    add(name, Number(value));
    for (const [, given] of (labels ?? "").matchAll(/="((?:[^"\\]|\\.)*)"/g)) add(`${name} ${given}`, Number(value));
  }
  return values;
}

const last = (name) => samples.at(-1).values.get(name);

// By how much a counter rose between two samples, the newest and that many before it.
export function risen(name, back = samples.length - 1) {
  const before = samples.at(-1 - Math.min(back, samples.length - 1)).values.get(name) ?? 0;
  return Math.max((last(name) ?? 0) - before, 0);
}

function rateAt(index) {
  const [before, now] = [samples[index - 1], samples[index]];
  const name = "jangtq_completion_tokens_total";
  return Math.max(((now.values.get(name) ?? 0) - (before.values.get(name) ?? 0)) / (now.at - before.at), 0);
}

const mean = (name) => (risen(`${name}_count`) ? risen(`${name}_sum`) / risen(`${name}_count`) : null);
const share = (part, whole) => (risen(whole) ? `${Math.round((100 * risen(part)) / risen(whole))}%` : null);

export function drawNow() {
  const rates = samples.slice(1).map((_, index) => rateAt(index + 1));
  $("rate").textContent = figure(rates.at(-1) ?? 0);
  drawSpark(rates);
  const first = mean("jangtq_first_token_seconds");
  const between = mean("jangtq_between_tokens_seconds");
  describe($("now"), {
    Running: (last("jangtq_requests prefilling") ?? 0) + (last("jangtq_requests decoding") ?? 0),
    Waiting: last("jangtq_requests waiting") ?? 0,
    "First token after": first === null ? "–" : milliseconds(first),
    "Between tokens": between === null ? "–" : milliseconds(between),
  });
}

function drawSpark(rates) {
  const top = Math.max(...rates, 1);
  const x = (index) => 100 - ((rates.length - 1 - index) * 100) / (WINDOW_SAMPLES - 2);
  const points = rates.map((rate, index) => `${x(index).toFixed(2)},${(22.5 - (21 * rate) / top).toFixed(2)}`);
  const line = points.length ? `M${points.join("L")}` : "";
  $("spark").querySelector(".line").setAttribute("d", line);
  $("spark").querySelector(".area").setAttribute("d", line && `${line}L100,24L${x(0).toFixed(2)},24Z`);
}

export function drawEngine() {
  const budget = last("jangtq_kv_budget_bytes");
  const kv = last("jangtq_kv_bytes");
  const shown = {
    "KV cache": kv === undefined ? null : budget ? `${bytes(kv)} of ${bytes(budget)}` : bytes(kv),
    "Prompt tokens from the cache": share("jangtq_cached_prompt_tokens_total", "jangtq_admitted_prompt_tokens_total"),
    "Guessed tokens accepted": share("jangtq_draft_tokens_accepted_total", "jangtq_draft_tokens_total"),
    "Taken over by another worker": last("jangtq_cluster_events_total failovers") || null,
  };
  describe($("engine"), shown);
  $("engine-section").hidden = !$("engine").childElementCount;
}

