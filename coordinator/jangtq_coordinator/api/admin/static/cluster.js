// The cluster as it runs, from /health, /cluster, /cluster/heat and /metrics.

const POLL_MS = 2000;
const WINDOW_SAMPLES = 30;
const HUES = [172, 28, 250, 92, 330, 205, 50, 8];

const samples = [];
let heat = null;

const figure = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)).replace(/^0\.00$/, "0");
const bytes = (count) => {
  const units = ["B", "KB", "MB", "GB", "TB"];
  const power = count ? Math.min(Math.floor(Math.log(count) / Math.log(1000)), 4) : 0;
  return `${(count / 1000 ** power).toFixed(power > 1 ? 1 : 0)} ${units[power]}`;
};
const milliseconds = (seconds) => `${figure(seconds * 1000)} ms`;
const colour = (index) => `hsl(${HUES[index % HUES.length]} 32% 54%)`;

// Sums the samples of each name over their labels; those of one label value stand under "name label".
function parseMetrics(text) {
  const values = new Map();
  const add = (name, value) => values.set(name, (values.get(name) ?? 0) + value);
  for (const [, name, labels, value] of text.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm)) {
    add(name, Number(value));
    for (const [, given] of (labels ?? "").matchAll(/="((?:[^"\\]|\\.)*)"/g)) add(`${name} ${given}`, Number(value));
  }
  return values;
}

async function poll() {
  const [health, cluster, metrics, picks] = await Promise.all([
    call("/health").then((reply) => reply.json()),
    call("/cluster").then((reply) => reply.json()),
    call("/metrics").then((reply) => reply.text()),
    call("/cluster/heat").then((reply) => reply.json()),
  ]);
  heat = picks;
  samples.push({ at: performance.now() / 1000, values: parseMetrics(metrics) });
  if (samples.length > WINDOW_SAMPLES) samples.shift();
  drawHealth(health);
  drawNow();
  drawWorkers(cluster.workers);
  drawEngine();
  drawHeat();
  drawAbout(cluster);
}

async function watchCluster() {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawHeat);
  new ResizeObserver(drawHeat).observe($("heat"));
  $("heat").addEventListener("pointermove", showPick);
  $("heat").addEventListener("pointerleave", showHeatWords);
  for (;;) {
    try {
      if (!document.hidden) await poll();
    } catch {
      tellHealth("bad", "no connection to the server");
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function tellHealth(kind, words) {
  $("health").firstElementChild.className = `dot ${kind}`;
  $("health").lastElementChild.textContent = words;
  $("health").title = words;
}

function drawHealth({ status, model, cluster }) {
  if (model) $("model").textContent = document.title = model;
  const missing = cluster?.uncovered_experts ? `: no worker holds experts ${cluster.uncovered_experts}` : "";
  tellHealth(status === "ok" ? "good" : status === "degraded" || status === "starting" ? "wait" : "bad", status === "ok" ? "ready" : `${status}${missing}`);
}

const last = (name) => samples.at(-1).values.get(name);

// By how much a counter rose between two samples, the newest and that many before it.
function risen(name, back = samples.length - 1) {
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

function drawNow() {
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

function drawEngine() {
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

function describe(list, facts) {
  const known = Object.entries(facts).filter(([, value]) => value !== null && value !== undefined);
  list.replaceChildren(...known.flatMap(([name, value]) => [el("dt", "", name), el("dd", "", String(value))]));
}

function drawWorkers(workers) {
  const picks = workers.map(({ name }) => risen(`jangtq_worker_picks_total ${name}`));
  const all = picks.reduce((sum, count) => sum + count, 0);
  $("workers").replaceChildren(...workers.map((worker, index) => workerView(worker, index, all && picks[index] / all)));
  drawRuler(workers);
}

function workerView(worker, index, load) {
  const { state } = worker;
  const serving = state === "serving";
  const swatch = el("span", "swatch");
  swatch.style.background = colour(index);
  const name = el("span", "name", worker.name);
  name.title = worker.reason || worker.name;
  const facts = [
    `experts ${worker.experts}`,
    bytes(worker.resident_bytes),
    serving && worker.times && `${milliseconds(worker.times.round_trip_ms / 1000)} away`,
  ];
  const fill = el("i");
  fill.style.width = serving ? `${Math.round(load * 100)}%` : 0;
  fill.style.background = colour(index);
  return el(
    "li",
    `worker ${state}`,
    swatch,
    name,
    el("span", `state ${serving ? "" : "bad"}`, serving ? `${Math.round(load * 100)}%` : state),
    el("span", "facts", facts.filter(Boolean).join(" · ")),
    el("span", "bar", fill),
  );
}

// Who holds which columns of the map; what no worker holds stays in the colour of an error.
function drawRuler(workers) {
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

function drawAbout({ workers }) {
  const [layers, experts] = [heat.layers.length, heat.layers[0].length];
  const holders = workers.length === 1 ? "one worker" : `${workers.length} workers`;
  $("about").textContent = `${layers} layers, ${experts} experts in each, held by ${holders}.`;
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

function drawHeat() {
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
  $("heat-words").textContent = `Layer ${heat.layers.indexOf(row)}, expert ${expert}: ${count.toLocaleString("en")} picks${times}`;
}

startChat();
watchCluster();
