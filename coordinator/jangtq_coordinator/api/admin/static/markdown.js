// Markdown as elements, block by block: blocks that did not change stay, and with them what is selected in them.

import { copyButton, el } from "./dom.js";
import DOMPurify from "./vendor/dompurify.js";
import hljs from "./vendor/highlight.js";
import { Marked } from "./vendor/marked.js";

const FORMULAS = /^(?:\$\$[^$]+\$\$|\\\[[\s\S]+?\\\]|\\\(.+?\\\)|\$(?!\s)[^$\n]*[\\^_=][^$\n]*\$)/;

// Formulas stay as they were written: their underscores and backslashes are no Markdown.
const formula = {
  name: "formula",
  level: "inline",
  start: (text) => text.search(/\$|\\[[(]/),
  tokenizer: (text) => {
    const found = FORMULAS.exec(text);
    return found ? { type: "formula", raw: found[0], text: found[0] } : undefined;
  },
  renderer: ({ text }) => `<span class="formula">${escaped(text)}</span>`,
};

// Below the page's own headings, without a gap.
const LEVELS = ["h3", "h3", "h4", "h5", "h5", "h5"];

const escaped = (text) => text.replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]);

const marked = new Marked({
  gfm: true,
  extensions: [formula],
  renderer: {
    html: ({ text }) => escaped(text),
    image: ({ text, href }) => escaped(text || href),
    heading({ tokens, depth }) {
      const tag = LEVELS[depth - 1];
      return `<${tag}>${this.parser.parseInline(tokens)}</${tag}>`;
    },
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

const TEXT_TAGS = ["p", "br", "hr", "h3", "h4", "h5", "ul", "ol", "li", "blockquote", "pre", "code", "strong", "em", "del", "a", "span"];
const TABLE_TAGS = ["table", "thead", "tbody", "tr", "th", "td"];
const ALLOWED = { ALLOWED_TAGS: [...TEXT_TAGS, ...TABLE_TAGS], ALLOWED_ATTR: ["href", "class", "start", "align"], RETURN_DOM_FRAGMENT: true };

export class MarkdownView {
  constructor(node) {
    this.node = node;
    this.raws = [];
  }

  update(text) {
    const tokens = marked.lexer(text).filter(({ type }) => type !== "space");
    tokens.forEach((token, index) => {
      if (this.raws[index] === token.raw) return;
      this.raws[index] = token.raw;
      const block = el("div", "block", renderBlock(token));
      const old = this.node.children[index];
      if (old) old.replaceWith(block);
      else this.node.append(block);
    });
    while (this.node.children.length > tokens.length) this.node.lastChild.remove();
    this.raws.length = tokens.length;
  }
}

export function markdown(text) {
  const node = el("div");
  new MarkdownView(node).update(text);
  return node;
}

function renderBlock(token) {
  const fragment = DOMPurify.sanitize(marked.parser([token]), ALLOWED);
  for (const link of fragment.querySelectorAll("a")) Object.assign(link, { target: "_blank", rel: "noreferrer noopener" });
  for (const table of fragment.querySelectorAll("table")) wrapTable(table);
  for (const code of fragment.querySelectorAll("pre > code")) dressCode(code);
  return fragment;
}

function wrapTable(table) {
  const frame = el("div", "table");
  frame.tabIndex = 0;
  frame.role = "region";
  frame.ariaLabel = "Table";
  table.replaceWith(frame);
  frame.append(table);
}

function dressCode(code) {
  const language = /language-([\w+#-]+)/.exec(code.className)?.[1] ?? "";
  const text = code.textContent;
  if (hljs.getLanguage(language)) code.innerHTML = hljs.highlight(text, { language, ignoreIllegals: true }).value;
  const pre = code.parentElement;
  const frame = el("div", "code");
  pre.tabIndex = 0;
  pre.role = "region";
  pre.ariaLabel = language ? `Code, ${language}` : "Code";
  pre.replaceWith(frame);
  frame.append(el("div", "code-head", el("span", "", language || "text"), copyButton(() => text, "Copy code")), pre);
}
