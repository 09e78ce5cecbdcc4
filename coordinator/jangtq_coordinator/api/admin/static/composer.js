// Where one writes: the message, the switches beside it, and how much of the context is used.

import { getJson } from "./api.js";
import { $ } from "./dom.js";
import { count } from "./figures.js";

let contextLength = null;

export function startComposer({ submit, stop, set }) {
  $("composer").addEventListener("submit", (event) => (event.preventDefault(), send(submit)));
  $("text").addEventListener("input", grow);
  $("text").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send(submit);
  });
  $("stop").addEventListener("click", stop);
  $("tools").addEventListener("change", () => set({ tools: $("tools").checked }));
  $("thinking").addEventListener("change", () => set({ thinking: $("thinking").checked }));
  grow();
}

function send(submit) {
  const text = $("text").value.trim();
  if (!text || !$("stop").hidden) return;
  $("text").value = "";
  grow();
  submit(text);
}

function grow() {
  $("text").style.height = "auto";
  $("text").style.height = `${$("text").scrollHeight}px`;
  $("send").disabled = !$("text").value.trim();
}

export function showRunning(on) {
  $("send").hidden = on;
  $("stop").hidden = !on;
}

export function showSettings({ tools, thinking }) {
  $("tools").checked = tools;
  $("thinking").checked = thinking;
}

export async function showContext({ messages }) {
  contextLength ??= (await getJson("/v1/models").catch(() => null))?.data?.[0]?.context_length ?? null;
  const used = messages.findLast(({ facts }) => facts?.context)?.facts.context;
  $("context").hidden = !used;
  if (!used) return;
  const full = contextLength && used > 0.8 * contextLength;
  $("context").classList.toggle("full", Boolean(full));
  $("context").textContent = contextLength ? `${count(used)} of ${count(contextLength)} tokens` : `${count(used)} tokens`;
  $("context").title = full ? "The context is nearly full: begin a new chat soon." : "How much of the model's context this chat uses";
}
