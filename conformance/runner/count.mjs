// Counts the tests of files without running them: node count.mjs FILE... prints { FILE: { tests, skipped: { reason: tests } } }.
import { createRequire, syncBuiltinESMExports } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const found = {};
let count, reasons = [];

function add(name, ...[options]) {
  const own = options?.skip && (typeof options.skip === 'string' ? options.skip : name);
  const reason = reasons.find(Boolean) ?? own;
  if (reason) count.skipped[reason] = (count.skipped[reason] ?? 0) + 1;
  else count.tests++;
}

function group(name, ...rest) {
  const skip = typeof rest[0] === 'object' && rest[0].skip;
  reasons.push(skip && (typeof skip === 'string' ? skip : name));
  rest.at(-1)();
  reasons.pop();
}

const runner = createRequire(import.meta.url)('node:test');
Object.assign(runner, { test: add, it: add, describe: group, suite: group, before() {}, after() {}, beforeEach() {}, afterEach() {} });
syncBuiltinESMExports();

for (const file of process.argv.slice(2)) {
  count = { tests: 0, skipped: {} };
  reasons = [];
  try {
    await import(pathToFileURL(resolve(file)));
    found[file] = count;
  } catch {
    // It will tell when it is run.
  }
}
process.stdout.write(JSON.stringify(found), () => process.exit());
