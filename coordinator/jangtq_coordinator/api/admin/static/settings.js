// The settings of one conversation: system prompt, temperature, length.

import { $ } from "./dom.js";

export function startSettings(get, set) {
  $("settings").addEventListener("click", () => show(get()));
  $("temperature").addEventListener("input", nameTemperature);
  $("temperature-given").addEventListener("change", nameTemperature);
  $("settings-form").addEventListener("submit", () => set(read()));
  $("settings-cancel").addEventListener("click", () => $("settings-dialog").close());
}

function show({ system, temperature, length }) {
  $("system").value = system;
  $("temperature-given").checked = temperature !== null;
  $("temperature").value = temperature ?? 1;
  $("length").value = length ?? "";
  nameTemperature();
  $("settings-dialog").showModal();
}

function nameTemperature() {
  $("temperature").disabled = !$("temperature-given").checked;
  $("temperature-value").textContent = $("temperature").disabled ? "as the model says" : Number($("temperature").value).toFixed(2);
}

const read = () => ({
  system: $("system").value,
  temperature: $("temperature-given").checked ? Number($("temperature").value) : null,
  length: $("length").value ? Number($("length").value) : null,
});
