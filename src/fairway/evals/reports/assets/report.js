// The report of an evaluation. What agents and judges wrote reaches the page as text only (`textContent`); the page's
// policy lets nothing else run, and nothing leave it.
(() => {
  "use strict";
  const $ = id => document.getElementById(id);
  const ROW = 48, SPARE = 8, MOST_CHUNKS = 60;
  const MARK = { passed: "✓", failed: "✗", unknown: "?", invalid: "?", error: "!" };
  const TONE = { passed: "good", failed: "bad", unknown: "open", invalid: "open", error: "open",
    held: "good", violated: "bad" };
  const UNDECIDED = new Set(["unknown", "invalid", "error"]);

  // ---------- what the page was given: an index of all cases at once, and what was said in chunks, read when needed
  const index = JSON.parse($("index").textContent);
  const col = Object.fromEntries(index.columns.map((name, at) => [name, at]));
  const rows = index.rows;
  const get = (row, name) => rows[row][col[name]];
  const changes = rows.map(row => index.changes[row[col.change]]);
  const outcomes = rows.map(row => index.outcomes[row[col.now] ?? row[col.before]]);
  const change = row => changes[row];
  const shownOutcome = row => outcomes[row];
  const chunks = new Map(), unpacking = new Map();
  const haystacks = new Array(rows.length);
  const arrived = new Promise(done => document.addEventListener("DOMContentLoaded", done, { once: true }));

  function bytesOf(text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const chars = atob(text), bytes = new Uint8Array(chars.length);
    for (let at = 0; at < chars.length; at++) bytes[at] = chars.charCodeAt(at);
    return bytes;
  }

  async function unpack(number) {
    if (!$(`cases-${number}`)) await arrived;
    const stream = new Blob([bytesOf($(`cases-${number}`).textContent)]).stream().pipeThrough(new DecompressionStream("deflate"));
    const found = JSON.parse(await new Response(stream).text());
    prepare(number, found);
    chunks.set(number, found);
    unpacking.delete(number);
    if (chunks.size > MOST_CHUNKS) chunks.delete(chunks.keys().next().value);
    return found;
  }

  function chunk(number) {
    if (!unpacking.has(number)) unpacking.set(number, unpack(number));
    return unpacking.get(number);
  }

  const chunkOf = row => Math.floor(row / index.chunk);

  // What was said in a case; null as long as it is being unpacked.
  function caseOf(row) {
    const found = chunks.get(chunkOf(row));
    return found ? { texts: found.texts, ...found.cases[row % index.chunk] } : null;
  }

  // Everything a case says, in small letters, for the search.
  function prepare(number, found) {
    found.cases.forEach((one, at) => {
      const row = number * index.chunk + at;
      const tags = get(row, "tags").map(tag => index.tags[tag]).join(" ");
      const said = one.refs.map(ref => found.texts[ref]).join("\n");
      haystacks[row] ??= `${index.suites[get(row, "suite")]}/${get(row, "id")}\n${get(row, "name")}\n${tags}\n${said}`
        .toLowerCase();
    });
  }

  async function prepareAll() {
    const missing = new Set();
    for (let row = 0; row < rows.length; row += index.chunk) if (haystacks[row] === undefined) missing.add(chunkOf(row));
    await Promise.all([...missing].map(chunk));
  }

  // ---------- small parts of the page
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
  const percent = value => value === null || value === undefined ? "–" : value.toFixed(2);

  function badge(word, tone) { return el("span", `badge ${tone}`, word); }

  for (const names of [index.suites, index.tags, index.metrics])
    names.forEach((name, at) => { names[at] = name.replace(HIDDEN, "\ufffd"); });

  // ---------- narrowing down
  const CHIPS = [
    ["all", "All", () => true],
    ["failed", "Failed", row => outcomes[row] === "failed"],
    ["undecided", "Undecided", row => UNDECIDED.has(outcomes[row])],
    ["newly-failing", "Newly failing", row => change(row) === "newly failing"],
    ["newly-passing", "Newly passing", row => change(row) === "newly passing"],
    ["changed", "Changed", row => !["same", "alone"].includes(change(row)) || get(row, "differs") === 1],
    ["flagged", "Flagged", row => get(row, "flag") !== null],
    ["critical", "Critical", row => get(row, "critical") === 1],
  ];
  const test = Object.fromEntries(CHIPS.map(([id, , holds]) => [id, holds]));
  const rank = row => ({ failed: 0, error: 1, invalid: 1, unknown: 2, passed: 3 })[shownOutcome(row)];
  const worstOf = row => (change(row) === "newly failing" ? -2 : 0) + (get(row, "critical") && rank(row) < 3 ? -1 : 0) + rank(row);
  const worst = Float64Array.from(rows, (_, row) => worstOf(row));
  const up = (name, missing) => row => get(row, name) ?? missing;
  const ratio = (now, before) => row =>
    get(row, now) === null || !get(row, before) ? -Infinity : get(row, now) / get(row, before);
  const SORTS = {
    worst: (a, b) => worst[a] - worst[b],
    file: () => 0,
    score: (a, b) => up("score", 2)(a) - up("score", 2)(b),
    cost: (a, b) => up("cost", -1)(b) - up("cost", -1)(a),
    tokens: (a, b) => up("tokens", -1)(b) - up("tokens", -1)(a),
    seconds: (a, b) => up("seconds", -1)(b) - up("seconds", -1)(a),
    growth: (a, b) => ratio("tokens", "tokensBefore")(b) - ratio("tokens", "tokensBefore")(a),
    name: (a, b) => get(a, "id") < get(b, "id") ? -1 : 1,
  };
  const state = { show: "all", suite: "", tag: "", metric: "", q: "", sort: "worst", diff: true };
  let shown = [], selected = -1, repeat = { now: 0, before: 0 };

  function wanted() {
    const terms = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    const suite = state.suite === "" ? null : Number(state.suite);
    const tag = state.tag === "" ? null : Number(state.tag);
    const metric = state.metric === "" ? null : Number(state.metric);
    const found = [];
    for (let row = 0; row < rows.length; row++) {
      if (!test[state.show](row)) continue;
      if (suite !== null && get(row, "suite") !== suite) continue;
      if (tag !== null && !get(row, "tags").includes(tag)) continue;
      if (metric !== null && !get(row, "metrics").includes(metric)) continue;
      if (terms.length) {
        const text = haystacks[row];
        if (!terms.every(term => text.includes(term))) continue;
      }
      found.push(row);
    }
    return state.sort === "file" ? found : found.sort((a, b) => SORTS[state.sort](a, b) || a - b);
  }

  let asked = 0;
  async function apply() {
    const begun = performance.now(), mine = ++asked;
    if (state.q.trim() && haystacks.includes(undefined)) {
      $("status").textContent = "Searching …";
      await prepareAll();
      if (mine !== asked) return; // something else was asked meanwhile
    }
    shown = wanted();
    $("space").style.height = `${shown.length * ROW}px`;
    $("list").scrollTop = 0;
    const of = shown.length === rows.length ? "" : ` of ${number(rows.length)}`;
    $("status").textContent = `${number(shown.length)}${of} case${shown.length === 1 ? "" : "s"}`;
    for (const chip of $("chips").children) chip.setAttribute("aria-pressed", String(chip.value === state.show));
    paint(true);
    if (selected >= 0 && shown.includes(selected)) reveal(shown.indexOf(selected));
    note(state.q.trim() ? "fairway:search" : "fairway:filter", begun);
  }

  function note(name, begun) { performance.measure(name, { start: begun, end: performance.now() }); }

  // ---------- the list: only the rows that can be seen exist
  const pool = new Map();
  function paint(afresh) {
    const list = $("list"), space = $("space");
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - SPARE);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + SPARE);
    for (const [at, made] of pool) {
      if (afresh || at < first || at >= last) { made.remove(); pool.delete(at); }
    }
    const fresh = document.createDocumentFragment();
    for (let at = first; at < last; at++) {
      if (pool.has(at)) continue;
      const made = rowOf(shown[at], at);
      pool.set(at, made);
      fresh.append(made);
    }
    space.append(fresh);
    mark();
  }

  function rowOf(row, at) {
    const word = shownOutcome(row), made = el("div", "row");
    made.id = `row-${row}`;
    made.setAttribute("role", "option");
    made.setAttribute("aria-posinset", at + 1);
    made.setAttribute("aria-setsize", shown.length);
    made.style.transform = `translateY(${at * ROW}px)`;
    const sign = el("span", `mark ${TONE[word]}`, MARK[word]);
    sign.setAttribute("aria-hidden", "true");
    const id = el("span", "id", el("span", "sr", `${word}: `), say(get(row, "id")));
    const runs = get(row, "runs") > 1 ? `${get(row, "passed")}/${get(row, "runs")}` : "";
    const before = get(row, "runsBefore") > 1 ? `${get(row, "passedBefore")}/${get(row, "runsBefore")} → ` : "";
    const side = el("span", "side", get(row, "critical") ? badge("critical", "none") : null, " ", runs ? before + runs : "");
    const changed = change(row), tone = changed.includes("passing") ? "good" : changed.includes("failing") ? "bad" : "open";
    const less = el("span", "less", ["same", "alone"].includes(changed) ? el("span", "muted", index.suites[get(row, "suite")]) :
      el("span", tone, changed));
    made.append(sign, id, side, el("span", "why", say(get(row, "why") || get(row, "name"))), less);
    made.addEventListener("click", () => { open(row); });
    return made;
  }

  function mark() {
    for (const made of pool.values()) made.setAttribute("aria-selected", String(made.id === `row-${selected}`));
    if (selected >= 0 && $(`row-${selected}`)) $("list").setAttribute("aria-activedescendant", `row-${selected}`);
    else $("list").removeAttribute("aria-activedescendant");
  }

  function reveal(at) {
    const list = $("list"), top = at * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
    paint(false);
  }

  function move(by) {
    if (!shown.length) return;
    const at = shown.indexOf(selected);
    const to = at < 0 ? 0 : Math.min(shown.length - 1, Math.max(0, at + by));
    reveal(to);
    open(shown[to], false);
  }

  // ---------- one case
  async function open(row, reading = true) {
    const begun = performance.now();
    selected = row;
    mark();
    if (reading && matchMedia("(max-width: 760px)").matches) document.body.classList.add("reading");
    remember();
    if (!caseOf(row)) {
      $("case").setAttribute("aria-busy", "true");
      await chunk(chunkOf(row));
      if (selected !== row) return; // somebody moved on meanwhile
    }
    const one = caseOf(row);
    repeat = { now: one.shownNow, before: one.shownBefore };
    draw();
    note("fairway:case", begun);
  }

  function draw() {
    const pane = $("case"), one = caseOf(selected);
    if (!one) { chunk(chunkOf(selected)).then(draw); return; }
    const text = ref => ref === null || ref === undefined ? "" : one.texts[ref];
    pane.removeAttribute("aria-busy");
    pane.replaceChildren(...[
      backButton(), heading(one), ...why(one, text), ...repeats(one),
      el("h3", "", one.before.length && one.now.length ? "Conversation, side by side" : "Conversation"), conversation(one, text),
      el("h3", "", "Checks"), checks(one, text), ...facts(one, text),
    ].filter(Boolean));
    pane.scrollTop = 0;
  }

  function backButton() {
    const made = el("button", "plain", "← All cases");
    made.id = "back";
    made.addEventListener("click", leave);
    return made;
  }

  function leave() { document.body.classList.remove("reading"); $("list").focus(); }

  function heading(one) {
    const word = shownOutcome(selected), changed = change(selected);
    const line = el("div", "line", badge(`${MARK[word]} ${word}`, TONE[word]));
    if (!["same", "alone"].includes(changed)) line.append(badge(changed, changed.includes("passing") ? "good" : changed.includes("failing") ? "bad" : "open"));
    if (get(selected, "critical")) line.append(badge("critical", "none"));
    const flag = get(selected, "flag");
    if (flag !== null) line.append(badge(flag, "open"));
    line.append(el("span", "muted", index.suites[get(selected, "suite")]));
    for (const tag of get(selected, "tags")) line.append(badge(`#${index.tags[tag]}`, "none"));
    const name = get(selected, "name");
    return el("div", "", el("h2", "", say(get(selected, "id"))), name === get(selected, "id") ? null : el("p", "said", say(name)), line);
  }

  function why(one, text) {
    const found = [];
    if (one.undecided !== null) found.push(el("p", "note open", say(text(one.undecided))));
    if (one.rule !== null) found.push(el("p", "note", el("b", "", "Rule it protects: "), say(text(one.rule))));
    if (one.explain.length) {
      const lines = el("div", "note bad");
      one.explain.forEach((ref, at) => { if (at) lines.append("\n"); lines.append(say(text(ref))); });
      found.push(lines);
    }
    return found;
  }

  function repeats(one) {
    if (Math.max(one.now.length, one.before.length) < 2) return [];
    const strip = (side, label) => {
      if (!one[side].length) return null;
      const made = el("div", "repeats", el("span", "muted", label));
      one[side].forEach((trial, at) => {
        const button = el("button", "", `${trial.n + 1} `, el("b", TONE[trial.o], MARK[trial.o]));
        button.setAttribute("aria-pressed", String(repeat[side] === at));
        button.setAttribute("aria-label", `${label} repeat ${trial.n + 1}, ${trial.o}`);
        button.addEventListener("click", () => { repeat[side] = at; draw(); });
        made.append(button);
      });
      return made;
    };
    return [el("h3", "", "Repeats"), el("div", "line", strip("before", "Baseline"), strip("now", "Candidate"))];
  }

  function conversation(one, text) {
    const now = one.now[repeat.now], before = one.before[repeat.before];
    const both = one.now.length > 0 && one.before.length > 0;
    const made = el("div", both ? "two" : "two single");
    const head = (side, trial, name) => trial && el("div", "sidehead", `${side} `, el("span", "muted", say(name)), " ",
      el("span", TONE[trial.o], `${MARK[trial.o]} ${trial.o}`));
    if (both || before) made.append(head("Baseline", before, index.baseline ?? ""));
    if (now) made.append(head("Candidate", now, index.candidate));
    one.turns.forEach((turn, at) => {
      const user = el("div", "said user wide", say(text(turn)));
      user.dataset.who = "user";
      made.append(user);
      const left = before?.r[at], right = now?.r[at];
      const calls = both && left?.c && right?.c ? Diff.calls(left.c, right.c) : null;
      if (both || before) made.append(answer(left, right, "before", both, calls, text));
      if (now) made.append(answer(right, left, "now", both, calls, text));
    });
    return made;
  }

  function answer(reply, other, side, both, calls, text) {
    if (!reply) return el("div", "answer none", "No reply.");
    const said = el("div", "said answer");
    said.dataset.who = both ? (side === "before" ? "baseline" : "candidate") : "agent";
    if (both && other && state.diff) {
      const begun = performance.now();
      const [before, now] = side === "before" ? [reply, other] : [other, reply];
      for (const [kept, piece] of Diff.words(text(before.t), text(now.t))) {
        if (kept === "same") said.append(say(piece));
        else if (kept === (side === "before" ? "removed" : "added")) said.append(el(side === "before" ? "del" : "ins", "", say(piece)));
      }
      note("fairway:diff", begun);
    } else said.append(say(text(reply.t)));
    if (!text(reply.t)) said.append(el("span", "muted", "(empty)"));
    return el("div", "", said, callList(reply, side, calls), numbersOf(reply));
  }

  function callList(reply, side, calls) {
    if (reply.c === null) return el("p", "meta", "Tool calls are not reported.");
    if (!reply.c.length && !(calls ?? []).some(([how]) => how === "missing")) return null;
    const made = el("ul", "calls");
    made.setAttribute("aria-label", "Tool calls");
    const line = (call, how, differing) => {
      const item = el("li", how === "changed" ? `changed ${side === "before" ? "before" : "after"}` : how,
        say(call[0]), "(", say(call[2] ? call[2] : Diff.text(call[1])), ")");
      const words = { missing: ["only the baseline", "bad"], extra: ["only the candidate", "good"], changed: ["arguments differ", "open"] }[how];
      if (words && (how !== "extra" || side === "now") && (how !== "missing" || side === "before"))
        item.append(el("span", `how ${words[1]}`, words[0]));
      for (const [pointer, from, to] of differing)
        item.append(el("div", "", el("span", "muted", say(`${pointer || "/"} `)), el("del", "", say(from ?? "absent")), " ", el("ins", "", say(to ?? "absent"))));
      made.append(item);
    };
    if (!calls) for (const call of reply.c) line(call, "", []);
    else for (const call of reply.c) {
      const pair = calls.find(one => one[side === "before" ? 1 : 2] === call);
      line(call, pair[0], side === "now" ? pair[3] : []);
    }
    return made;
  }

  function numbersOf(reply) {
    const parts = [];
    if (reply.in !== null || reply.out !== null) parts.push(`${number(reply.in)} in, ${number(reply.out)} out`);
    if (reply.cost !== null) parts.push(money(reply.cost));
    if (reply.sec !== null) parts.push(`${number(reply.sec, 2)} s`);
    for (const word of [reply.model, reply.finish, reply.status]) if (word) parts.push(word);
    return parts.length ? el("p", "meta", say(parts.join(" · "))) : null;
  }

  function checks(one, text) {
    const now = one.now[repeat.now], before = one.before[repeat.before];
    const made = el("table", "checks");
    const head = el("tr", "", el("th", "", "Check"), one.before.length && one.now.length ? el("th", "", "Baseline") : null,
      el("th", "", one.now.length ? "Candidate" : "Baseline"), el("th", "", "What was found"));
    for (const cell of head.children) cell.scope = "col";
    made.append(el("thead", "", head));
    const body = el("tbody"), main = now ?? before;
    if (main.e !== null) body.append(el("tr", "", el("td", "", "error"), el("td", "open num", "!"), el("td", "", say(text(main.e)))));
    main.a.forEach((found, at) => body.append(checkRow(one, found, now && before ? before.a[at] : null, text)));
    for (const ref of main.v) body.append(el("tr", "", el("td", "", "violation"), el("td", "bad num", "✗ violated"),
      now && before ? el("td") : null, el("td", "", say(text(ref)))));
    if (!body.children.length) body.append(el("tr", "", el("td", "muted", "Every check of this case holds.")));
    made.append(body);
    return made;
  }

  function checkRow(one, found, other, text) {
    const cell = result => {
      if (!result) return el("td", "muted num", "–");
      const sign = { held: "✓", violated: "✗" }[result.f] ?? "?";
      return el("td", `num ${TONE[result.f] ?? "open"}`, `${sign} ${result.f}`, result.s === null ? "" : ` ${percent(result.s)}`);
    };
    const what = el("td", "", found.m !== null ? say(text(found.m)) : null);
    if (found.r !== null) what.append(el("div", "reason", say(`“${text(found.r)}”`)));
    if (found.d !== null) {
      const more = el("details", "", el("summary", "muted", "more"), el("pre", "", say(JSON.stringify(found.d, null, 2))));
      what.append(more);
    }
    const name = el("td", "", say(found.t), found.k ? el("div", "meta", say(`metric ${found.k}`)) : null,
      found.w !== 1 ? el("div", "meta", `weight ${number(found.w, 2)}`) : null);
    const both = one.before.length && one.now.length;
    return el("tr", "", name, both ? cell(other) : null, cell(found), what);
  }

  function facts(one, text) {
    const made = [];
    if (one.asked !== null) made.push(el("h3", "", "What the case asks"), el("pre", "", say(JSON.stringify(one.asked, null, 2))));
    const trial = one.now[repeat.now] ?? one.before[repeat.before];
    const state = trial.r.at(-1)?.state ?? null;
    if (state !== null) made.push(el("h3", "", "State it left behind"), el("pre", "", say(JSON.stringify(state, null, 2))));
    const context = trial.r.at(-1)?.ctx ?? [];
    if (context.length) made.push(el("h3", "", "Passages it answered from"), ...context.map(ref => el("p", "note", say(text(ref)))));
    const words = [["Tokens", number(trial.tok)], ["Cost", money(trial.cost)], ["Time", `${number(trial.sec, 2)} s`]];
    if (trial.cached) words.push(["Replies", "from the cache"]);
    made.push(el("p", "meta", words.map(([name, value]) => `${name} ${value}`).join(" · ")));
    return made;
  }

  // ---------- the address keeps what is looked at, so that it can be sent to somebody
  let later = 0;
  function remember() { clearTimeout(later); later = setTimeout(keepAddress, 150); }

  function keepAddress() {
    const parts = new URLSearchParams();
    for (const key of ["show", "suite", "tag", "metric", "q", "sort"]) {
      const usual = { show: "all", sort: "worst" }[key] ?? "";
      if (state[key] !== usual) parts.set(key, state[key]);
    }
    if (selected >= 0) parts.set("case", `${index.suites[get(selected, "suite")]}/${get(selected, "id")}`);
    try { history.replaceState(null, "", `#${parts}`); } catch { /* some viewers forbid it, and nothing depends on it */ }
  }

  function recall() {
    const parts = new URLSearchParams(location.hash.slice(1));
    if (test[parts.get("show")]) state.show = parts.get("show");
    if (SORTS[parts.get("sort")]) state.sort = parts.get("sort");
    for (const key of ["suite", "tag", "metric"]) {
      const options = [...$(key).options].map(option => option.value);
      if (options.includes(parts.get(key))) state[key] = parts.get(key);
    }
    state.q = parts.get("q") ?? "";
    for (const key of ["suite", "tag", "metric", "q", "sort"]) $(key).value = state[key];
    return parts.get("case");
  }

  // ---------- setting up
  function choices() {
    for (const [id, label, holds] of CHIPS) {
      const count = rows.reduce((sum, _, row) => sum + Boolean(holds(row)), 0);
      if (!count && id !== "all" && id !== "failed") continue;
      const button = el("button", "", label, " ", el("b", "", number(count)));
      button.value = id;
      button.type = "button";
      button.addEventListener("click", () => { state.show = id; apply(); remember(); });
      $("chips").append(button);
    }
    for (const [id, names] of [["suite", index.suites], ["tag", index.tags], ["metric", index.metrics]]) {
      names.forEach((name, at) => {
        const option = el("option", "", name);
        option.value = at;
        $(id).append(option);
      });
      $(id).hidden = names.length < (id === "suite" ? 2 : 1);
      $(id).addEventListener("change", () => { state[id] = $(id).value; apply(); remember(); });
    }
    $("sort").addEventListener("change", () => { state.sort = $("sort").value; apply(); remember(); });
    $("q").addEventListener("input", () => { state.q = $("q").value; apply(); remember(); });
    $("diff").hidden = index.baseline === null;
    for (const id of ["diff", "theme", "keys"]) $(id).addEventListener("click", () => actions[id]());
    $("list").addEventListener("scroll", () => paint(false), { passive: true });
    addEventListener("resize", () => paint(false));
  }

  const cycle = by => {
    const ids = [...$("chips").children].map(chip => chip.value);
    state.show = ids[(ids.indexOf(state.show) + by + ids.length) % ids.length];
    apply();
    remember();
  };
  const turn = by => {
    const one = selected >= 0 && caseOf(selected);
    if (!one) return;
    for (const side of ["now", "before"]) {
      if (one[side].length) repeat[side] = Math.min(one[side].length - 1, Math.max(0, repeat[side] + by));
    }
    draw();
  };
  const actions = {
    diff: () => { state.diff = !state.diff; $("diff").setAttribute("aria-pressed", String(state.diff)); if (selected >= 0) draw(); },
    theme: () => {
      const root = document.documentElement;
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
    },
    keys: () => $("help").showModal(),
  };
  const KEYS = {
    j: () => move(1), ArrowDown: () => move(1), k: () => move(-1), ArrowUp: () => move(-1),
    PageDown: () => move(10), PageUp: () => move(-10), Home: () => move(-Infinity), End: () => move(Infinity),
    Enter: () => { if (selected >= 0) { open(selected); $("case").focus(); } },
    Escape: leave, "/": () => { $("q").focus(); $("q").select(); },
    "[": () => turn(-1), "]": () => turn(1), f: () => cycle(1), F: () => cycle(-1),
    d: actions.diff, t: actions.theme, "?": actions.keys,
  };
  const SCROLLS = new Set(["ArrowDown", "ArrowUp", "PageDown", "PageUp", "Home", "End"]);

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    const at = event.target;
    if (at === $("q") && (event.key === "Enter" || event.key === "ArrowDown" || event.key === "Escape")) {
      event.preventDefault();
      $("list").focus();
      if (event.key !== "Escape") move(selected >= 0 && shown.includes(selected) ? 0 : 1);
      return;
    }
    if (at.closest("input, select, textarea") || !KEYS[event.key]) return;
    if (event.key === "Enter" && at.closest("button, summary, a")) return;
    if (SCROLLS.has(event.key) && at.closest("#case")) return; // in the case these keys scroll
    event.preventDefault();
    KEYS[event.key]();
  }

  // On paper there is no list to scroll: the cases that are shown, in a table.
  function onPaper() {
    const table = el("table", "", el("caption", "", `${$("status").textContent}, as filtered`));
    for (const row of shown.slice(0, 1000)) {
      table.append(el("tr", "", el("td", "", MARK[shownOutcome(row)]), el("td", "mono", say(get(row, "id"))),
        el("td", "", change(row) === "alone" ? "" : change(row)), el("td", "", say(get(row, "why") || ""))));
    }
    $("print").replaceChildren(table, shown.length > 1000 ? el("p", "", `and ${number(shown.length - 1000)} more`) : "");
  }

  // The search is made ready while nobody needs the page.
  function warmUp(number) {
    if (number * index.chunk >= rows.length) { performance.mark("fairway:warm"); return; }
    const soon = globalThis.requestIdleCallback ?? (next => setTimeout(next, 20));
    soon(async () => {
      if (haystacks[number * index.chunk] === undefined) await chunk(number);
      warmUp(number + 1);
    });
  }

  async function start() {
    const asked = recall();
    await apply();
    const wants = asked === null ? -1 :
      rows.findIndex((_, row) => `${index.suites[get(row, "suite")]}/${get(row, "id")}` === asked);
    const first = wants >= 0 ? wants : shown[0] ?? -1;
    performance.mark("fairway:list");
    if (first >= 0) {
      if (shown.includes(first)) reveal(shown.indexOf(first));
      await open(first, wants >= 0);
    }
    await arrived;
    performance.mark("fairway:open");
    warmUp(0);
  }

  choices();
  document.addEventListener("keydown", pressed);
  addEventListener("beforeprint", onPaper);
  start();
})();
