// The part of Markdown that models write, as elements: never as HTML of the model's own.

function markdown(text) {
  const result = document.createDocumentFragment();
  const lines = text.split("\n");
  while (lines.length) {
    const line = lines[0];
    if (!line.trim()) lines.shift();
    else if (/^\s*```/.test(line)) result.append(codeBlock(lines));
    else if (/^#{1,6} /.test(line)) result.append(inline(lines.shift().replace(/^#+ /, ""), el("h3")));
    else if (isItem(line)) result.append(list(lines));
    else result.append(paragraph(lines));
  }
  return result;
}

const isItem = (line) => /^\s*([-*•]|\d+[.)]) /.test(line);
const isPlain = (line) => line.trim() && !isItem(line) && !/^(\s*```|#{1,6} )/.test(line);

function codeBlock(lines) {
  lines.shift();
  const code = [];
  while (lines.length && !/^\s*```/.test(lines[0])) code.push(lines.shift());
  lines.shift();
  return el("pre", "", el("code", "", code.join("\n")));
}

function list(lines) {
  const isNumbered = (line) => /^\s*\d/.test(line);
  const numbered = isNumbered(lines[0]);
  const result = el(numbered ? "ol" : "ul");
  if (numbered) result.start = parseInt(lines[0], 10);
  while (lines.length && isItem(lines[0]) && isNumbered(lines[0]) === numbered) {
    let item = lines.shift().replace(/^\s*([-*•]|\d+[.)]) /, "");
    while (lines.length && /^\s+\S/.test(lines[0]) && isPlain(lines[0])) item += " " + lines.shift().trim();
    result.append(inline(item, el("li")));
  }
  return result;
}

function paragraph(lines) {
  const text = [lines.shift()];
  while (lines.length && isPlain(lines[0])) text.push(lines.shift());
  return inline(text.join("\n"), el("p"));
}

const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|(?<![\w*])\*([^*\s][^*]*)\*(?!\w)|\[([^\]]+)\]\((https?:[^\s)]+)\)/g;

function inline(text, parent) {
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    parent.append(text.slice(end, match.index), marked(match));
    end = match.index + match[0].length;
  }
  parent.append(text.slice(end));
  return parent;
}

function marked([, code, bold, italic, label, address]) {
  if (code) return el("code", "", code);
  if (bold) return el("strong", "", bold);
  if (italic) return el("em", "", italic);
  const link = el("a", "", label);
  Object.assign(link, { href: address, target: "_blank", rel: "noreferrer noopener" });
  return link;
}
