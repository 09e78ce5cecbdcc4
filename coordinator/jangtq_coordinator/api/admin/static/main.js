// Puts the page together: conversations, the composer, the settings, and the panels beside them.

import { watchCluster } from "./cluster.js";
import { showContext, showRunning, showSettings, startComposer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { $, button, el } from "./dom.js";
import { download, History } from "./history.js";
import { startPanels, showView } from "./panels.js";
import { watchScrolling } from "./scrolling.js";
import { startSettings } from "./settings.js";
import { openStore } from "./store.js";
import { DEFAULTS, makeTalk } from "./talk.js";

const SUGGESTIONS = [
  { text: "Explain photosynthesis in five sentences." },
  { text: "What is 23 * 17? Use the calculator.", tools: true },
  { text: "What time is it in Tokyo?", tools: true },
];

const conversation = new Conversation(changed);
const history = new History(await openStore(), { open, leave: begin });

function open(talk) {
  conversation.open(talk);
  history.mark(talk);
  showSettings(talk.settings);
  showContext(talk);
  showView("chat");
}

function begin() {
  open(makeTalk({ ...DEFAULTS, ...conversation.talk?.settings, system: "" }));
  $("text").focus();
}

function changed(talk) {
  showRunning(Boolean(conversation.running));
  history.keep(talk);
  if (talk === conversation.talk) showContext(talk);
}

function set(settings) {
  Object.assign(conversation.talk.settings, settings);
  showSettings(conversation.talk.settings);
  history.keep(conversation.talk);
}

function suggest({ text, tools }) {
  const ask = () => {
    if (tools) set({ tools });
    conversation.ask(text);
  };
  return el("li", "", button(text, ask));
}

function stopByEscape(event) {
  if (event.key === "Escape" && conversation.running && !document.querySelector("dialog[open]")) conversation.stop();
}

startPanels();
startComposer({ submit: (text) => conversation.ask(text), stop: () => conversation.stop(), set });
startSettings(() => conversation.talk.settings, set);
watchScrolling();
$("suggestions").append(...SUGGESTIONS.map(suggest));
$("new").addEventListener("click", begin);
$("export").addEventListener("click", () => download(conversation.talk));
document.addEventListener("keydown", stopByEscape);
await history.load();
begin();
watchCluster({ busy: () => Boolean(conversation.running) });
