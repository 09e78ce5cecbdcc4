// Which parts of the page are shown: both panels can be hidden; a narrow screen shows one part at a time.

import { $ } from "./dom.js";

const KEPT = "jangtq-panels";
const PANELS = ["history", "cluster"];

export function startPanels() {
  const hidden = (localStorage.getItem(KEPT) ?? "").split(" ");
  for (const name of PANELS) {
    show(name, !hidden.includes(name));
    $(`${name}-toggle`).addEventListener("click", () => {
      show(name, document.body.classList.contains(`no-${name}`));
      localStorage.setItem(KEPT, PANELS.filter((each) => document.body.classList.contains(`no-${each}`)).join(" "));
    });
  }
  for (const tab of document.querySelectorAll("nav button")) tab.addEventListener("click", () => showView(tab.dataset.to));
}

function show(name, shown) {
  document.body.classList.toggle(`no-${name}`, !shown);
  $(`${name}-toggle`).ariaExpanded = String(shown);
}

export function showView(name) {
  document.body.dataset.view = name;
  for (const tab of document.querySelectorAll("nav button")) tab.ariaPressed = String(tab.dataset.to === name);
}
