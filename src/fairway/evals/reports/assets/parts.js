// Small parts of the page. Text reaches it through `append` and `textContent` alone.
const Parts = (() => {
  "use strict";
  const MARK = { passed: "✓", failed: "✗", unknown: "?", invalid: "?", error: "!" };
  const TONE = { passed: "good", failed: "bad", unknown: "open", invalid: "open", error: "open",
    held: "good", violated: "bad" };

  function el(tag, name, ...inside) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    made.append(...inside.filter(one => one !== null && one !== undefined && one !== ""));
    return made;
  }

  // Control characters and marks that turn the direction of writing are shown by their number, never obeyed.
  const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}\ud800-\udfff]/gu;
  function say(text) {
    const made = document.createDocumentFragment();
    let from = 0;
    for (const match of text.matchAll(HIDDEN)) {
      made.append(text.slice(from, match.index));
      const number = match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
      const mark = el("span", "ctl", `U+${number}`);
      made.append(mark);
      from = match.index + match[0].length;
    }
    made.append(text.slice(from));
    return made;
  }

  const number = (value, digits = 0) =>
    value === null || value === undefined ? "–" : value.toLocaleString("en", { maximumFractionDigits: digits });
  const money = micros => micros === null || micros === undefined ? "–" :
    `$${(micros / 1e6).toLocaleString("en", { minimumFractionDigits: 2, maximumSignificantDigits: 3 })}`;
  const share = value => value === null || value === undefined ? "–" : value.toFixed(2);
  const duration = seconds => seconds === null || seconds === undefined ? "–" :
    seconds < 1 ? `${number(seconds * 1000)} ms` : `${number(seconds, 2)} s`;

  function badge(word, tone) { return el("span", `badge ${tone}`, word); }

  // Names that stand in a list to choose from, where no mark can be shown.
  const clean = text => text.replace(HIDDEN, "\ufffd");

  return { MARK, TONE, el, say, clean, number, money, share, duration, badge };
})();
