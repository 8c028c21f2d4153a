// What differs between two answers and between two lists of tool calls. The same rules as word_diff.py and call_diff.py.
const Diff = (() => {
  "use strict";
  const CJK = "\\u3040-\\u30ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff";
  const TOKEN = new RegExp(`[${CJK}]|\\s+|(?:(?![\\u3040-\\u9fff\\uf900-\\ufaff])[\\p{L}\\p{N}\\p{M}_])+|.`, "gsu");
  const MOST_EDITS = 600;

  function common(one, other, at) {
    let count = 0;
    const most = Math.min(one.length, other.length);
    while (count < most && one.at(at(count)) === other.at(at(count))) count++;
    return count;
  }

  // Myers 1986, the greedy form.
  function edits(old, now) {
    const most = Math.min(old.length + now.length, MOST_EDITS), offset = most + 1;
    const reach = new Int32Array(2 * most + 4);
    const trace = [];
    for (let d = 0; d <= most; d++) {
      trace.push(reach.slice(offset - d - 1, offset + d + 2));
      for (let k = -d; k <= d; k += 2) {
        const down = k === -d || (k !== d && reach[offset + k - 1] < reach[offset + k + 1]);
        let x = down ? reach[offset + k + 1] : reach[offset + k - 1] + 1;
        while (x < old.length && x - k < now.length && old[x] === now[x - k]) x++;
        reach[offset + k] = x;
        if (x >= old.length && x - k >= now.length) return walkBack(old, now, trace);
      }
    }
    return [...old.map(word => ["removed", word]), ...now.map(word => ["added", word])];
  }

  function walkBack(old, now, trace) {
    let x = old.length, y = now.length;
    const steps = [];
    for (let d = trace.length - 1; d >= 0; d--) {
      const at = k => trace[d][k + d + 1], k = x - y;
      const down = k === -d || (k !== d && at(k - 1) < at(k + 1));
      const from = down ? k + 1 : k - 1;
      const beforeX = at(from), beforeY = beforeX - from;
      while (x > Math.max(beforeX, 0) && y > Math.max(beforeY, 0)) { x--; y--; steps.push(["same", old[x]]); }
      if (d) steps.push(down ? ["added", now[beforeY]] : ["removed", old[beforeX]]);
      x = beforeX; y = beforeY;
    }
    return steps.reverse();
  }

  const size = stretch => Math.max([...stretch.removed].length, [...stretch.added].length);

  // What stayed between two changes that are both larger is drawn into them.
  function pieces(steps) {
    const stretches = [{ same: "", removed: "", added: "" }];
    for (const [kept, word] of steps) {
      const last = stretches.at(-1);
      if (kept === "same" && (last.removed || last.added)) stretches.push({ same: "", removed: "", added: "" });
      stretches.at(-1)[kept] += word;
    }
    const joined = [];
    for (const stretch of stretches) {
      const before = joined.at(-1);
      if (before && size(before) && size(stretch) && [...stretch.same].length <= Math.min(size(before), size(stretch))) {
        before.removed += stretch.same + stretch.removed;
        before.added += stretch.same + stretch.added;
      } else joined.push(stretch);
    }
    return joined.flatMap(one => ["same", "removed", "added"].map(kept => [kept, one[kept]])).filter(([, text]) => text);
  }

  function words(before, after) {
    const old = before.match(TOKEN) ?? [], now = after.match(TOKEN) ?? [];
    const start = common(old, now, n => n);
    const oldRest = old.slice(start), nowRest = now.slice(start);
    const end = common(oldRest, nowRest, n => -1 - n);
    const same = list => list.map(word => ["same", word]);
    return pieces([
      ...same(old.slice(0, start)),
      ...edits(oldRest.slice(0, oldRest.length - end), nowRest.slice(0, nowRest.length - end)),
      ...same(end ? old.slice(-end) : []),
    ]);
  }

  const isObject = value => value !== null && typeof value === "object" && !Array.isArray(value);
  function text(value) {
    if (Array.isArray(value)) return `[${value.map(text).join(", ")}]`;
    if (!isObject(value)) return JSON.stringify(value) ?? "null";
    return `{${Object.keys(value).sort().map(key => `${JSON.stringify(key)}: ${text(value[key])}`).join(", ")}}`;
  }

  function differing(before, after, pointer, found) {
    if (isObject(before) && isObject(after)) {
      for (const key of [...new Set([...Object.keys(before), ...Object.keys(after)])].sort()) {
        const below = `${pointer}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`;
        if (!Object.hasOwn(before, key)) found.push([below, null, text(after[key])]);
        else if (!Object.hasOwn(after, key)) found.push([below, text(before[key]), null]);
        else differing(before[key], after[key], below, found);
      }
    } else if (text(before) !== text(after)) found.push([pointer, text(before), text(after)]);
    return found;
  }

  // A call is [name, arguments, malformed]; the result is [how, before, after, differing arguments].
  function calls(before, after) {
    const partner = new Map(), used = new Set();
    for (const key of [call => `${call[0]}\n${text(call[1])}\n${call[2] ?? ""}`, call => call[0]]) {
      const free = new Map();
      before.forEach((call, at) => {
        if (!used.has(at)) free.set(key(call), [...(free.get(key(call)) ?? []), at]);
      });
      after.forEach((call, at) => {
        const others = free.get(key(call));
        if (!partner.has(at) && others?.length) { partner.set(at, others.shift()); used.add(partner.get(at)); }
      });
    }
    const pairs = after.map((call, at) => {
      if (!partner.has(at)) return ["extra", null, call, []];
      const other = before[partner.get(at)], found = differing(other[1], call[1], "", []);
      if ((other[2] ?? null) !== (call[2] ?? null)) found.unshift(["", other[2] ?? "readable", call[2] ?? "readable"]);
      return [found.length ? "changed" : "same", other, call, found];
    });
    before.forEach((call, at) => { if (!used.has(at)) pairs.push(["missing", call, null, []]); });
    return pairs;
  }

  return { words, calls, text };
})();
