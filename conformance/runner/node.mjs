// Runs test files of node:test, each in a process of its own.
import { availableParallelism } from 'node:os';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { run } from './command.mjs';
import { duration } from './display.mjs';

const beside = name => join(import.meta.dirname, name);

async function count(files, cwd) {
  let found = '';
  await run(process.execPath, [beside('count.mjs'), ...files], { cwd, onLine: line => { found = line; } });
  try {
    return JSON.parse(found);
  } catch {
    return {};
  }
}

export async function runFiles(suite, files, cwd) {
  suite.begins('counting');
  const counts = await count(files, cwd);
  suite.ends('counting');
  for (const file of files) {
    const { tests = 0, skipped = {} } = counts[file] ?? {};
    suite.total += tests;
    for (const [reason, number] of Object.entries(skipped)) suite.skip(reason, number);
    suite.total += Object.values(skipped).reduce((sum, number) => sum + number, 0);
  }
  const waiting = [...files];
  const worker = async () => {
    for (let file; (file = waiting.shift());) await runFile(suite, file, cwd, counts[file]);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
}

async function runFile(suite, file, cwd, expected) {
  const name = basename(file), started = performance.now();
  const label = () => `${name} (${passed} of ${expected?.tests ?? '?'})`;
  let passed = 0, failed = 0, skipped = 0, output = '', shown = label();
  const relabel = () => { suite.ends(shown); suite.begins(shown = label()); };
  suite.begins(shown);
  const onLine = line => {
    const { kind, suite: group, path, reason, text } = JSON.parse(line);
    if (kind === 'output') {
      output += text;
    } else if (kind === 'pass') {
      passed++;
      suite.pass();
    } else if (kind === 'fail') {
      failed++;
      suite.fail([name, path.join(' > ')].filter(Boolean).join(': '), text);
    } else if (!group && !Object.keys(expected?.skipped ?? {}).includes(reason)) { // those that the file itself skips are counted
      skipped++;
      suite.skip(reason);
    }
    relabel();
  };
  const { status, output: errors } = await run(process.execPath,
    ['--test', `--test-reporter=${pathToFileURL(beside('reporter.mjs'))}`, '--test-reporter-destination=stdout', file], { cwd, onLine });
  suite.ends(shown);
  output += errors;
  const missing = expected && !failed && expected.tests - passed - skipped;
  if (status !== 0 && !failed) suite.fail(name, `${output}It ends with status ${status}.`);
  else if (missing > 0) suite.fail(name, `${output}${missing} of its ${expected.tests} tests have not run.`);
  else if (failed && output) suite.line(`${name} has printed:\n${output.trimEnd()}`);
  suite.line(`${name}: ${passed} passed${failed ? `, ${failed} failed` : ''} in ${duration(performance.now() - started)}`);
}
