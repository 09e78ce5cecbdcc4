// The model's thinking: while it lasts its newest line and its seconds, afterwards how long it took; folded away.

import { el } from "./dom.js";
import { seconds } from "./figures.js";

const TICK_MS = 200;

export class ThinkingView {
  constructor() {
    this.label = el("span", "", "Thinking");
    this.line = el("span", "newest");
    this.text = el("div", "inner");
    this.node = el("details", "aside thinking", el("summary", "", this.label, this.line), this.text);
    this.began = 0;
  }

  begin() {
    this.began = performance.now();
    this.node.classList.add("running");
    this.timer = setInterval(() => this.tick(), TICK_MS);
    this.tick();
  }

  tick() {
    this.label.textContent = `Thinking, ${Math.floor((performance.now() - this.began) / 1000)} s`;
  }

  update(reasoning) {
    const text = reasoning.trim();
    if (text === this.text.textContent) return;
    this.text.textContent = text;
    this.line.textContent = text.slice(text.lastIndexOf("\n") + 1).slice(-160);
  }

  // Of thinking that was kept, `took` says how long it was; of thinking that just ends, the clock does.
  end(took = (performance.now() - this.began) / 1000) {
    clearInterval(this.timer);
    this.node.classList.remove("running");
    this.line.textContent = "";
    this.label.textContent = `Thought for ${seconds(took)}`;
    return took;
  }
}
