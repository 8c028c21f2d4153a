// One case: what was asked, answered, called and found, side by side.
const CasePane = (() => {
  "use strict";
  const { MARK, TONE, el, say, number, money, share, duration, badge } = Parts;
  const { index, get, change, outcome } = Data;
  const toneOf = changed => changed.includes("passing") ? "good" : changed.includes("failing") ? "bad" : "open";

  // The parts of the pane. `view`: {row, repeat: {now, before}, diff, onRepeat(side, at), onBack()}.
  function parts(view) {
    const one = Data.caseOf(view.row);
    const text = ref => ref === null || ref === undefined ? "" : one.texts[ref];
    const both = one.before.length && one.now.length;
    return [
      backButton(view), heading(one, view), ...why(one, text), ...repeats(one, view),
      el("h3", "", both ? "Conversation, side by side" : "Conversation"), conversation(one, text, view),
      ...(one.now.length || one.before.length ? [el("h3", "", "Checks"), checks(one, text, view)] : []), ...facts(one, text, view),
    ].filter(Boolean);
  }

  function backButton(view) {
    const made = el("button", "plain", "← All cases");
    made.id = "back";
    made.addEventListener("click", view.onBack);
    return made;
  }

  function heading(one, view) {
    const word = outcome(view.row), changed = change(view.row);
    const line = el("div", "line", badge(`${MARK[word]} ${word}`, TONE[word]));
    if (!["same", "alone"].includes(changed)) line.append(badge(changed, toneOf(changed)));
    if (get(view.row, "critical")) line.append(badge("critical", "none"));
    const flag = get(view.row, "flag");
    if (flag !== null) line.append(badge(flag, "open"));
    line.append(el("span", "muted", index.suites[get(view.row, "suite")]));
    for (const tag of get(view.row, "tags")) line.append(badge(`#${index.tags[tag]}`, "none"));
    const name = get(view.row, "name");
    return el("div", "", el("h2", "", say(get(view.row, "id"))), name === get(view.row, "id") ? null : el("p", "said", say(name)), line);
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

  function repeats(one, view) {
    if (Math.max(one.now.length, one.before.length) < 2) return [];
    const strip = (side, label) => {
      if (!one[side].length) return null;
      const made = el("div", "repeats", el("span", "muted", label));
      one[side].forEach((trial, at) => {
        const button = el("button", "", `${trial.n + 1} `, el("b", TONE[trial.o], MARK[trial.o]));
        button.setAttribute("aria-pressed", String(view.repeat[side] === at));
        button.setAttribute("aria-label", `${label} repeat ${trial.n + 1}, ${trial.o}`);
        button.addEventListener("click", () => { view.onRepeat(side, at); });
        made.append(button);
      });
      return made;
    };
    return [el("h3", "", "Repeats"), el("div", "line", strip("before", "Baseline"), strip("now", "Candidate"))];
  }

  function conversation(one, text, view) {
    const now = one.now[view.repeat.now], before = one.before[view.repeat.before];
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
      if (both || before) made.append(answer(left, right, "before", both, calls, text, view));
      if (now) made.append(answer(right, left, "now", both, calls, text, view));
    });
    return made;
  }

  function answer(reply, other, side, both, calls, text, view) {
    if (!reply) return el("div", "answer none", "No reply.");
    const said = el("div", "said answer");
    said.dataset.who = both ? (side === "before" ? "baseline" : "candidate") : "agent";
    if (both && other && view.diff) {
      const begun = performance.now();
      const [before, now] = side === "before" ? [reply, other] : [other, reply];
      for (const [kept, piece] of Diff.words(text(before.t), text(now.t))) {
        if (kept === "same") said.append(say(piece));
        else if (kept === (side === "before" ? "removed" : "added")) said.append(el(side === "before" ? "del" : "ins", "", say(piece)));
      }
      performance.measure("fairway:diff", { start: begun, end: performance.now() });
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
    if (reply.sec !== null) parts.push(duration(reply.sec));
    for (const word of [reply.model, reply.finish, reply.status]) if (word) parts.push(word);
    return parts.length ? el("p", "meta", say(parts.join(" · "))) : null;
  }

  function checks(one, text, view) {
    const now = one.now[view.repeat.now], before = one.before[view.repeat.before];
    const made = el("table", "checks");
    const head = el("tr", "", el("th", "", "Check"), one.before.length && one.now.length ? el("th", "", "Baseline") : null,
      el("th", "", one.now.length ? "Candidate" : "Baseline"), el("th", "", "What was found"));
    for (const cell of head.children) cell.scope = "col";
    made.append(el("thead", "", head));
    const body = el("tbody"), main = now ?? before;
    if (main.e !== null) body.append(el("tr", "", el("td", "", "undecided"), now && before ? el("td") : null,
      el("td", "open num", "!"), el("td", "", say(text(main.e)))));
    main.a.forEach((found, at) => body.append(checkRow(one, found, now && before ? same(before.a[at], found) : null, text)));
    for (const [check, ref] of main.v) body.append(el("tr", "", el("td", "", say(check)), now && before ? el("td") : null,
      el("td", "bad num", "✗ violated"), el("td", "", say(text(ref)))));
    if (!body.children.length && main.o === "passed")
      body.append(el("tr", "", el("td", "muted", "Every check of this case holds.")));
    made.append(body);
    return made;
  }

  // of another suite's checks the one at the same place is about something else
  const same = (other, found) => other?.t === found.t ? other : null;

  function checkRow(one, found, other, text) {
    const cell = result => {
      if (!result) return el("td", "muted num", "–");
      const sign = { held: "✓", violated: "✗" }[result.f] ?? "?";
      return el("td", `num ${TONE[result.f] ?? "open"}`, `${sign} ${result.f}`, result.s === null ? "" : ` ${share(result.s)}`);
    };
    const what = el("td", ""), listed = found.d === null ? [] : details(found.d);
    // a list below says the same, call by call
    if (found.m !== null && (listed.length < 2 || found.r !== null)) what.append(say(text(found.m)));
    if (found.r !== null && !text(found.m).includes(text(found.r))) what.append(el("div", "reason", say(`“${text(found.r)}”`)));
    what.append(...listed);
    const name = el("td", "", say(found.t), found.k ? el("div", "meta", say(`metric ${found.k}`)) : null,
      found.w !== 1 ? el("div", "meta", `weight ${number(found.w, 2)}`) : null);
    const both = one.before.length && one.now.length;
    return el("tr", "", name, both ? cell(other) : null, cell(found), what);
  }

  // What a check says besides. Unmatched calls, members of a set, claims and votes are lists; the rest can be unfolded.
  function details(found) {
    const made = el("ul", "calls");
    for (const key of ["missing", "extra", "forbidden", "members", "claims", "votes"]) {
      const list = Array.isArray(found[key]) ? found[key] : [];
      if (key === "votes" && list.length < 2) continue; // the only vote is the verdict
      for (const one of list) {
        const what = typeof one === "string" ? one : one.expected ?? one.call ?? one.claim ?? one.model ?? one.type ?? "";
        const word = ["missing", "extra", "forbidden"].includes(key) ? key : one.found ?? one.grade ?? one.verdict ?? one.missing ?? "";
        const item = el("li", key === "missing" || key === "forbidden" ? "missing" : "", say(String(what)),
          el("span", "how open", say(String(word))));
        const why = one.reason ?? one.message ?? one.problem;
        if (why) item.append(el("div", "muted", say(String(why))));
        made.append(item);
      }
    }
    const more = el("details", "", el("summary", "muted", "more"), el("pre", "", say(JSON.stringify(found, null, 2))));
    return made.children.length ? [made, more] : [more];
  }

  function facts(one, text, view) {
    const made = [];
    if (one.asked !== null) made.push(el("h3", "", "What the case asks"), el("pre", "", say(JSON.stringify(one.asked, null, 2))));
    const trial = one.now[view.repeat.now] ?? one.before[view.repeat.before];
    if (!trial) return made;
    const state = trial.r.at(-1)?.state ?? null;
    if (state !== null) made.push(el("h3", "", "State it left behind"), el("pre", "", say(JSON.stringify(state, null, 2))));
    const context = trial.r.at(-1)?.ctx ?? [];
    if (context.length) made.push(el("h3", "", "Passages it answered from"), ...context.map(ref => el("p", "note", say(text(ref)))));
    const words = [["Tokens", number(trial.tok)], ["Cost", money(trial.cost)], ["Time", duration(trial.sec)]];
    if (trial.cached) words.push(["Replies", "from the cache"]);
    made.push(el("p", "meta", words.map(([name, value]) => `${name} ${value}`).join(" · ")));
    return made;
  }

  return { parts, toneOf };
})();
