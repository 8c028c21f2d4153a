// The report of an evaluation. What agents and judges wrote reaches the page as text only (`textContent`); the page's
// policy lets nothing else run, and nothing leave it.
(() => {
  "use strict";
  const $ = id => document.getElementById(id);
  const ROW = 48, SPARE = 8;
  const { MARK, TONE, el, say, number, badge } = Parts;
  const { index, rows, get, change, outcome, chunk, chunkOf, caseOf, haystacks, prepareAll, arrived } = Data;
  const UNDECIDED = new Set(["unknown", "invalid", "error"]);

  // ---------- narrowing down
  const CHIPS = [
    ["all", "All", () => true],
    ["failed", "Failed", row => outcome(row) === "failed"],
    ["undecided", "Undecided", row => UNDECIDED.has(outcome(row))],
    ["newly-failing", "Newly failing", row => change(row) === "newly failing"],
    ["newly-passing", "Newly passing", row => change(row) === "newly passing"],
    ["changed", "Changed", row => !["same", "alone"].includes(change(row))],
    ["calls", "Other calls", row => get(row, "differs") === 2],
    ["answers", "Other answer", row => get(row, "differs") >= 1],
    ["flagged", "Flagged", row => get(row, "flag") !== null],
    ["critical", "Critical", row => get(row, "critical") === 1],
  ];
  const test = Object.fromEntries(CHIPS.map(([id, , holds]) => [id, holds]));
  const rank = row => ({ failed: 0, error: 1, invalid: 1, unknown: 2, passed: 3 })[outcome(row)];
  const worstOf = row =>
    (get(row, "critical") && rank(row) < 3 ? -8 : 0) + (change(row) === "newly failing" ? -4 : 0) + rank(row);
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
    name: (a, b) => get(a, "id").localeCompare(get(b, "id"), "en", { numeric: true }),
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
    $("status").textContent = `${number(shown.length)}${of} case${rows.length === 1 ? "" : "s"}`;
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
    const word = outcome(row), made = el("div", "row");
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
    const changed = change(row);
    const less = el("span", "less", ["same", "alone"].includes(changed) ? el("span", "muted", index.suites[get(row, "suite")]) :
      el("span", CasePane.toneOf(changed), changed));
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
    pane.removeAttribute("aria-busy");
    const onRepeat = (side, at) => { repeat[side] = at; draw(); };
    pane.replaceChildren(...CasePane.parts({ row: selected, repeat, diff: state.diff, onRepeat, onBack: leave }));
    pane.scrollTop = 0;
  }

  function leave() { document.body.classList.remove("reading"); $("list").focus(); }

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
    if (Object.hasOwn(test, parts.get("show"))) state.show = parts.get("show");
    if (Object.hasOwn(SORTS, parts.get("sort"))) state.sort = parts.get("sort");
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
      // a filter that would show nothing, or everything, is no help
      if ((!count || count === rows.length) && id !== "all" && id !== "failed") continue;
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
      table.append(el("tr", "", el("td", "", MARK[outcome(row)]), el("td", "mono", say(get(row, "id"))),
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
