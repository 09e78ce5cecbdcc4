// The workers: what each holds, how busy it is, and taking one out or in while requests run.

import { post, wordsOf } from "./api.js";
import { $, announce, button, el } from "./dom.js";
import { bytes, milliseconds } from "./figures.js";
import { colour, drawRuler } from "./heat.js";
import { risen } from "./metrics.js";

const views = new Map();

export function startWorkers() {
  $("add-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const worker = $("add-name").value.trim();
    if (worker) change("/cluster/workers", worker, `${worker} serves now.`).then((done) => done && ($("add-name").value = ""));
  });
}

async function change(path, worker, success) {
  $("worker-words").textContent = `Asking ${worker}…`;
  try {
    await post(path, { worker });
    $("worker-words").textContent = success;
    announce(success);
    return true;
  } catch (error) {
    $("worker-words").textContent = wordsOf(error);
    announce(wordsOf(error));
    return false;
  }
}

// A view stays as long as its worker, so that a button under the pointer or with the focus does.
export function drawWorkers(workers) {
  const picks = workers.map(({ name }) => risen(`jangtq_worker_picks_total ${name}`));
  const all = picks.reduce((sum, picked) => sum + picked, 0);
  for (const name of views.keys()) if (!workers.some((worker) => worker.name === name)) views.delete(name);
  const shown = workers.map((worker, index) => {
    if (!views.has(worker.name)) views.set(worker.name, new WorkerView(worker.name));
    const view = views.get(worker.name);
    view.update(worker, index, all && picks[index] / all);
    return view.node;
  });
  if (shown.some((node, index) => $("workers").children[index] !== node) || $("workers").children.length !== shown.length) $("workers").replaceChildren(...shown);
  drawRuler(workers);
}

class WorkerView {
  constructor(name) {
    this.swatch = el("span", "swatch");
    this.name = el("span", "name", name);
    this.state = el("span", "state");
    this.facts = el("span", "facts");
    this.reason = el("span", "reason");
    this.fill = el("i");
    this.change = button("", () => this.act(), "small");
    this.node = el("li", "worker", this.swatch, this.name, this.state, this.facts, this.change, this.reason, el("span", "bar", this.fill));
  }

  update(worker, index, load) {
    const serving = worker.state === "serving";
    this.worker = worker;
    this.node.className = `worker ${worker.state}`;
    this.swatch.style.background = this.fill.style.background = colour(index);
    this.state.textContent = serving ? `${Math.round(load * 100)}%` : worker.state;
    this.state.title = serving ? "Its share of the experts that were picked in the last minute" : worker.reason;
    this.state.classList.toggle("bad", !serving);
    this.facts.textContent = factWords(worker, serving);
    this.reason.textContent = serving ? "" : worker.reason;
    this.fill.style.width = serving ? `${Math.round(load * 100)}%` : 0;
    this.change.textContent = serving ? "Drain" : "Add";
    this.change.ariaLabel = `${serving ? "Drain" : "Add"} ${worker.name}`;
    this.change.title = serving ? "Send it no more calls, so that it can be stopped" : "Let it serve again";
  }

  act() {
    const { name, state } = this.worker;
    if (state === "serving") change("/cluster/workers/drain", name, `${name} is draining; it gets no new calls.`);
    else change("/cluster/workers", name, `${name} serves now.`);
  }
}

function factWords({ experts, resident_bytes: resident, memory_bytes: memory, device, times }, serving) {
  const away = serving && times && `${milliseconds(times.round_trip_ms / 1000)} away`;
  return [`experts ${experts}`, memory ? `${bytes(resident)} of ${bytes(memory)}` : bytes(resident), device, away].filter(Boolean).join(" · ");
}
