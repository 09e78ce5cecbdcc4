// The conversation on the screen: asks, answers, and what one can do with each of them.

import { wordsOf } from "./api.js";
import { AnswerView } from "./answer.js";
import { $, announce, button, copyButton, el, iconButton } from "./dom.js";
import { scrollDown } from "./scrolling.js";
import { Stream } from "./stream.js";
import { requestBody, titleOf, turnsOf } from "./talk.js";
import { offeredTools, runTool } from "./tools.js";

const MOST_ROUNDS = 8;

export class Conversation {
  // `changed(talk)` is called whenever there is something to keep or to show elsewhere.
  constructor(changed) {
    this.changed = changed;
    this.running = null;
  }

  open(talk) {
    this.stop();
    this.talk = talk;
    this.draw();
  }

  stop() {
    this.running?.abort();
  }

  draw() {
    $("turns").replaceChildren(...turnsOf(this.talk.messages).map((turn) => this.turnView(turn)));
    $("welcome").hidden = this.talk.messages.length > 0;
    scrollDown(true);
  }

  turnView({ start, end }) {
    const { messages } = this.talk;
    const answer = el("article", "turn", el("h2", "unseen", "Answer"));
    let view = null;
    for (const message of messages.slice(start + 1, end)) {
      if (message.role === "tool") showToolResult(view, message);
      else (view = new AnswerView(answer, message)).finish();
    }
    if (messages[start].failed) answer.append(this.failureView(start));
    if (end > start + 1) answer.append(this.answerActions(start, end));
    return el("div", "exchange", this.questionView(start), answer);
  }

  questionView(start) {
    const { content } = this.talk.messages[start];
    const actions = el("div", "actions", copyButton(() => content, "Copy message"), iconButton("edit", "Edit message", () => this.edit(start)), iconButton("remove", "Delete message and answer", () => this.remove(start)));
    return el("div", "turn user", el("div", "body", content), actions);
  }

  answerActions(start, end) {
    const { messages } = this.talk;
    const text = () => messages.slice(start + 1, end).map(({ role, content }) => (role === "assistant" ? content : "")).join("\n").trim();
    const actions = el("div", "actions", copyButton(text, "Copy answer"), iconButton("again", "Regenerate answer", () => this.retry(start)));
    if (messages[end - 1].facts?.end === "length") actions.append(button("Continue", () => this.ask("Continue."), "small"));
    return actions;
  }

  failureView(start) {
    const failure = el("div", "failure", el("p", "", this.talk.messages[start].failed), button("Retry", () => this.retry(start), "small"));
    failure.role = "alert";
    return failure;
  }

  edit(start) {
    if (this.running) return;
    const { messages } = this.talk;
    const text = el("textarea", "editing");
    text.value = messages[start].content;
    text.ariaLabel = "Edit message";
    const save = () => text.value.trim() && this.ask(text.value.trim(), start);
    text.addEventListener("keydown", (event) => {
      if (event.key === "Escape") (event.stopPropagation(), this.draw());
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) (event.preventDefault(), save());
    });
    const shown = $("turns").children[turnsOf(messages).findIndex((turn) => turn.start === start)].firstChild;
    shown.replaceChildren(el("div", "editor", text, el("div", "actions shown", button("Cancel", () => this.draw(), "small"), button("Send", save, "small strong"))));
    text.style.height = `${text.scrollHeight}px`;
    text.focus();
  }

  remove(start) {
    if (this.running) return;
    const { end } = turnsOf(this.talk.messages).find((turn) => turn.start === start);
    this.talk.messages.splice(start, end - start);
    this.draw();
    this.changed(this.talk);
    announce("Deleted.");
  }

  retry(start) {
    if (!this.running) this.ask(this.talk.messages[start].content, start);
  }

  // What follows from place `at` on is forgotten.
  async ask(content, at = this.talk.messages.length) {
    if (this.running) return;
    const { talk } = this;
    const question = { role: "user", content };
    talk.messages.splice(at, Infinity, question);
    if (at === 0) talk.title = titleOf(content);
    this.draw();
    const turn = $("turns").lastChild.lastChild;
    turn.classList.add("writing");
    this.running = new AbortController();
    this.changed(talk);
    announce("The model is answering.");
    try {
      await this.answer(talk, turn, this.running.signal);
      announce("The answer is complete.");
    } catch (error) {
      if (error.name === "AbortError") announce("Stopped.");
      else question.failed = wordsOf(error);
      if (error.name === "AbortError" && talk.messages.at(-1) === question) question.failed = "Stopped before an answer came.";
    } finally {
      this.running = null;
      talk.changed = Date.now();
      if (this.talk === talk) this.finishTurn(turn, talk.messages.indexOf(question));
      this.changed(talk);
    }
  }

  finishTurn(turn, start) {
    turn.classList.remove("writing");
    turn.parentElement.replaceWith(this.turnView({ start, end: this.talk.messages.length }));
    scrollDown();
  }

  // Rounds of the model and the tools it calls, until it answers without a call.
  async answer(talk, turn, signal) {
    for (let round = 0; round < MOST_ROUNDS; round++) {
      const message = { role: "assistant", content: "" };
      const view = new AnswerView(turn, message);
      view.drawn = () => scrollDown();
      view.waitFor("Waiting");
      const stream = new Stream(view, message);
      const body = requestBody(talk, offeredTools());
      try {
        await stream.run(body, signal);
      } finally {
        if (stream.said) talk.messages.push(message);
      }
      if (!message.tool_calls?.length) return;
      this.runTools(talk, view, message.tool_calls);
    }
    throw new Error(`the model called tools ${MOST_ROUNDS} times without an answer`);
  }

  runTools(talk, view, calls) {
    for (const [index, made] of calls.entries()) {
      const content = runTool(made.function);
      view.showResult(index, made.function, content);
      talk.messages.push({ role: "tool", tool_call_id: made.id, content });
    }
  }
}

function showToolResult(view, { tool_call_id: id, content }) {
  const index = view.message.tool_calls.findIndex((made) => made.id === id);
  view.showResult(index, view.message.tool_calls[index].function, content);
}
