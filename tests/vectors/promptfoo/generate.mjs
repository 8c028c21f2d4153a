// What promptfoo says of every row of assertions.json: run it where promptfoo is installed.
//   npm install promptfoo@0.123.1 && node generate.mjs rows.json assertions.json
import { readFileSync, writeFileSync } from 'node:fs';
import promptfoo from 'promptfoo';

const version = JSON.parse(readFileSync('node_modules/promptfoo/package.json', 'utf8')).version;
const [, , from, to] = process.argv;
const given = JSON.parse(readFileSync(from, 'utf8'));
const rows = Array.isArray(given) ? given : given.rows;
for (const row of rows) {
  const { latencyMs, none, ...rest } = row.response ?? {};
  try {
    const { pass, score } = await promptfoo.assertions.runAssertion({
      assertion: structuredClone(row.assertion),
      test: { vars: {} },
      latencyMs,
      providerResponse: { output: structuredClone(row.output), ...rest },
    });
    row.promptfoo = { pass, score: Math.round(score * 1e9) / 1e9 };
  } catch (error) {
    row.promptfoo = { error: String(error.message).split('\n')[0].slice(0, 100) };
  }
}
writeFileSync(to, JSON.stringify({ promptfoo: version, rows }));
