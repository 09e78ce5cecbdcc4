// The cluster as it runs, from /health, /cluster, /cluster/heat and /metrics.

import { call, getJson } from "./api.js";
import { $ } from "./dom.js";
import { drawHeat, startHeat } from "./heat.js";
import { drawEngine, drawNow, takeMetrics } from "./metrics.js";
import { drawWorkers, startWorkers } from "./workers.js";

const POLL_MS = 2000;
const BUSY_POLL_MS = 700;
const KINDS = { ok: "good", starting: "wait", stopping: "wait" };

let seen = null;

async function poll() {
  const [health, cluster, metrics, heat] = await Promise.all([
    getJson("/health"),
    getJson("/cluster"),
    call("/metrics").then((reply) => reply.text()),
    getJson("/cluster/heat"),
  ]);
  takeMetrics(metrics);
  drawHealth(health);
  drawNow();
  drawHeat(heat);
  drawWorkers(cluster.workers);
  drawEngine();
  drawAbout(cluster, heat);
  seen = new Date();
  showGone(false);
}

export async function watchCluster({ busy }) {
  startHeat();
  startWorkers();
  for (;;) {
    try {
      if (!document.hidden) await poll();
    } catch {
      tellHealth("bad", "no connection to the server");
      showGone(true);
    }
    await new Promise((resolve) => setTimeout(resolve, busy() ? BUSY_POLL_MS : POLL_MS));
  }
}

function showGone(gone) {
  $("cluster").classList.toggle("gone", gone);
  $("gone").hidden = !gone;
  if (gone) $("gone").textContent = seen ? `The server does not answer. This is how it was at ${seen.toLocaleTimeString()}.` : "The server does not answer.";
}

function tellHealth(kind, words) {
  $("health").firstElementChild.className = `dot ${kind}`;
  const shown = $("health").lastElementChild;
  if (shown.textContent !== words) shown.textContent = words;
  $("health").title = words;
}

function drawHealth({ status, model, cluster }) {
  if (model) $("model").textContent = document.title = model;
  if (status === "ok") tellHealth("good", "ready");
  else if (status === "degraded") tellHealth("bad", `waiting: no worker holds experts ${cluster.uncovered_experts}`);
  else tellHealth(KINDS[status] ?? "bad", status);
}

function drawAbout({ workers }, { layers }) {
  const holders = workers.length === 1 ? "one worker" : `${workers.length} workers`;
  $("about").textContent = `${layers.length} layers, ${layers[0].length} experts in each, held by ${holders}.`;
}
