// What the page was given: an index of all cases at once, and what was said in chunks, unpacked when needed.
const Data = (() => {
  "use strict";
  const $ = id => document.getElementById(id);
  const MOST_CHUNKS = 60;
  const index = JSON.parse($("index").textContent);
  const col = Object.fromEntries(index.columns.map((name, at) => [name, at]));
  const rows = index.rows;
  const get = (row, name) => rows[row][col[name]];
  const changes = rows.map(row => index.changes[row[col.change]]);
  const outcomes = rows.map(row => index.outcomes[row[col.now] ?? row[col.before]]);
  const change = row => changes[row];
  const outcome = row => outcomes[row];
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

  for (const names of [index.suites, index.tags, index.metrics])
    names.forEach((name, at) => { names[at] = Parts.clean(name); });

  return { index, rows, get, change, outcome, chunk, chunkOf, caseOf, haystacks, prepareAll, arrived };
})();
