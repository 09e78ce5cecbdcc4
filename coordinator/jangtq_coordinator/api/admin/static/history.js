// The list of conversations: open, rename, delete with an undo, export.

import { $, announce, button, el, iconButton } from "./dom.js";
import { asMarkdown } from "./talk.js";

const UNDO_MS = 8000;

export class History {
  constructor(store, { open, leave }) {
    Object.assign(this, { store, open, leave, talks: new Map(), current: null });
  }

  async load() {
    for (const talk of await this.store.all()) this.talks.set(talk.id, talk);
    this.draw();
  }

  get newest() {
    return this.sorted[0];
  }

  get sorted() {
    return [...this.talks.values()].sort((a, b) => b.changed - a.changed);
  }

  keep(talk) {
    if (!talk.messages.length && !this.talks.has(talk.id)) return;
    this.talks.set(talk.id, talk);
    this.store.put(talk);
    this.draw();
  }

  draw() {
    $("talks").replaceChildren(...this.sorted.map((talk) => this.item(talk)));
    $("no-talks").hidden = this.talks.size > 0;
  }

  item(talk) {
    const choose = button(talk.title, () => this.open(talk), "title");
    if (talk === this.current) choose.ariaCurrent = "true";
    const actions = el("div", "actions", iconButton("rename", `Rename ${talk.title}`, () => this.rename(talk)), iconButton("remove", `Delete ${talk.title}`, () => this.remove(talk)));
    return el("li", "", choose, actions);
  }

  mark(talk) {
    this.current = talk;
    this.draw();
  }

  rename(talk) {
    const title = prompt("Name of this chat", talk.title)?.trim();
    if (!title) return;
    talk.title = title;
    this.keep(talk);
  }

  async remove(talk) {
    this.talks.delete(talk.id);
    await this.store.remove(talk.id);
    this.draw();
    if (talk === this.current) this.leave();
    this.offerUndo(talk);
  }

  offerUndo(talk) {
    clearTimeout(this.timer);
    const undo = button("Undo", () => {
      $("undo").replaceChildren();
      this.keep(talk);
      this.open(talk);
    }, "small");
    $("undo").replaceChildren(el("span", "", `Deleted “${talk.title}”.`), undo);
    announce(`Deleted ${talk.title}.`);
    this.timer = setTimeout(() => $("undo").replaceChildren(), UNDO_MS);
  }
}

export function download(talk) {
  const link = el("a");
  link.href = URL.createObjectURL(new Blob([asMarkdown(talk)], { type: "text/markdown" }));
  link.download = `${talk.title.replace(/[^\p{L}\p{N} -]/gu, "").trim() || "chat"}.md`;
  link.click();
  URL.revokeObjectURL(link.href);
}
