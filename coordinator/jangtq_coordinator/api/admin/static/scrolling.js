// The end of the conversation stays in view while one is near it; a button leads back there.

import { $ } from "./dom.js";

const NEAR = 120;

const distance = () => $("scroll").scrollHeight - $("scroll").scrollTop - $("scroll").clientHeight;

export function scrollDown(always = false) {
  if (always || distance() < NEAR) $("scroll").scrollTop = $("scroll").scrollHeight;
}

export function watchScrolling() {
  $("scroll").addEventListener("scroll", () => ($("to-end").hidden = distance() < 2 * NEAR));
  $("to-end").addEventListener("click", () => scrollDown(true));
}
