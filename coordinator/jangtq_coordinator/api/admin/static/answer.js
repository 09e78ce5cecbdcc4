// One answer of the model: its thinking, its text, the tools it calls, and the figures below it.

import { el } from "./dom.js";
import { count, figure, seconds } from "./figures.js";
import { MarkdownView } from "./markdown.js";
import { ThinkingView } from "./thinking.js";

const ENDINGS = {
  length: "Cut at the longest length allowed.",
  stopped: "Stopped.",
  empty: "The model gave an empty answer.",
};

export class AnswerView {
  constructor(parent, message = { role: "assistant", content: "" }) {
    this.message = message;
    this.wait = el("p", "waiting");
    this.body = el("div", "answer");
    this.markdown = new MarkdownView(this.body);
    this.calls = el("div", "calls");
    this.foot = el("p", "foot");
    this.node = el("div", "part", this.wait, this.body, this.calls, this.foot);
    this.wait.hidden = this.foot.hidden = true;
    parent.append(this.node);
  }

  waitFor(words) {
    this.wait.hidden = !words;
    this.wait.textContent = words;
  }

  draw() {
    const { reasoning_content: reasoning, content, tool_calls: calls } = this.message;
    if (reasoning?.trim()) this.think(reasoning);
    this.markdown.update(content ?? "");
    for (const [index, made] of (calls ?? []).entries()) this.drawCall(index, made);
  }

  think(reasoning) {
    if (!this.thinking) {
      this.thinking = new ThinkingView();
      this.node.insertBefore(this.thinking.node, this.body);
      if (!this.message.facts) this.thinking.begin();
    }
    this.thinking.update(reasoning);
  }

  drawCall(index, { function: { name, arguments: given } }) {
    const view = this.calls.children[index] ?? this.calls.appendChild(el("details", "aside", el("summary"), el("div", "inner", el("code"), el("span"))));
    view.dataset.tool = name;
    view.firstChild.textContent ||= `Calling ${name}`;
    view.querySelector("code").textContent = `${name}(${given})`;
  }

  showResult(index, { name }, content) {
    const view = this.calls.children[index];
    view.firstChild.textContent = `Used ${name}`;
    view.querySelector("span").textContent = content;
  }

  // Shows what `message.facts` knows of an answer that is over.
  finish() {
    const { facts = {}, tool_calls: calls } = this.message;
    this.waitFor("");
    this.draw();
    this.thinking?.end(facts.thought);
    const words = [ENDINGS[facts.end], calls ? "" : footWords(facts)].filter(Boolean).join(" ");
    this.foot.textContent = words;
    this.foot.hidden = !words;
  }
}

function footWords({ tokens, rate, first }) {
  if (!tokens) return "";
  const speed = rate ? ` · ${figure(rate)} tokens/s` : "";
  return `${count(tokens)} tokens${speed}${first === undefined ? "" : ` · first after ${seconds(first)}`}`;
}
