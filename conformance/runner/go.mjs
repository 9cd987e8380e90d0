// Runs the tests in Go of a module.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './command.mjs';
import { duration } from './display.mjs';

export const go = process.env.GO || 'go';
const ask = (args, cwd) => spawnSync(go, args, { cwd, encoding: 'utf8' }).stdout?.trim() ?? '';

/** Why there is no race detector, if there is none: it needs a C compiler. */
export function whyNoRaceDetector() {
  const compiler = ask(['env', 'CC']).split(' ')[0];
  if (ask(['env', 'CGO_ENABLED']) !== '1') return 'cgo is disabled';
  if (spawnSync(compiler, ['--version']).error) return `no C compiler (${compiler})`;
}

/** How many tests a file has; an example is one if it says what it prints. */
function testsIn(file) {
  const text = readFileSync(file, 'utf8');
  const functions = text.split(/^(?=func )/m).filter(one => /^func (Test|Fuzz|Example)(?![a-z])\w*\(/.test(one) && !one.startsWith('func TestMain('));
  return functions.filter(one => !one.startsWith('func Example') || /^\s*\/\/ (Unordered output|Output):/im.test(one)).length;
}

/** Counts the tests of a module in its sources. */
function count(directory, flags) {
  const format = '{{$dir := .Dir}}{{range .TestGoFiles}}{{$dir}}\t{{.}}\n{{end}}{{range .XTestGoFiles}}{{$dir}}\t{{.}}\n{{end}}';
  const files = ask(['list', ...flags, '-f', format, './...'], directory).split('\n').filter(Boolean);
  return files.reduce((sum, line) => sum + testsIn(join(...line.split('\t'))), 0);
}

/** vet, the tests, and builds for other systems. */
export async function runGo(suite, directory, { race, systems = [] }) {
  const flags = race ? ['-race'] : [];
  suite.total = count(directory, flags);
  suite.notes.push(...(race ? ['race detector'] : []), 'vet', ...systems.map(system => `build for ${system}`));
  await step(suite, 'go vet', ['vet', './...'], directory);
  await test(suite, directory, flags);
  for (const system of systems) await step(suite, `go build for ${system}`, ['build', './...'], directory, { GOOS: system });
}

async function step(suite, name, args, directory, env = {}) {
  suite.begins(name);
  const { status, output } = await run(go, args, { cwd: directory, env: { ...process.env, ...env } });
  suite.ends(name);
  if (status !== 0) suite.fail(name, output);
}

/** What go test tells of one package. */
class Package {
  passed = 0;
  failed = 0;
  output = '';
  started = performance.now();
  /** The tests that run, each with what it and its subtests have printed. */
  tests = new Map();
}

const marks = /^\s*(=== (RUN|PAUSE|CONT|NAME)\b|--- PASS:)/;

async function test(suite, directory, flags) {
  const module = ask(['list', '-m'], directory);
  const named = path => (path === module ? '.' : path.replace(`${module}/`, ''));
  const packages = new Map();
  const builds = new Map(); // what the compiler says of each
  let rest = '';

  const finish = (name, one, { Action, FailedBuild }) => {
    suite.ends(name);
    for (const [test, output] of one.tests) {
      one.failed++;
      suite.fail(`${name}: ${test}`, `${output}${test} has not ended`);
    }
    if (Action === 'fail' && FailedBuild) suite.fail(`${name} does not build`, builds.get(FailedBuild) ?? one.output);
    else if (Action === 'fail' && !one.failed) suite.fail(name, one.output);
    else if (Action === 'fail' && /^panic: |^fatal error: |WARNING: DATA RACE/m.test(one.output)) suite.line(`${name}\n${one.output.trimEnd()}`);
    if (one.passed + one.failed) {
      suite.line(`${name}: ${one.passed} passed${one.failed ? `, ${one.failed} failed` : ''} in ${duration(performance.now() - one.started)}${/\(cached\)$/m.test(one.output) ? ', as before (cached)' : ''}`);
    }
  };

  const take = line => {
    let event;
    try {
      event = JSON.parse(line);
    } catch {
      rest += `${line}\n`;
      return;
    }
    const { Action, Package: path, Test, Output } = event;
    if (Action === 'build-output') builds.set(event.ImportPath, (builds.get(event.ImportPath) ?? '') + Output);
    if (!path) return;
    const name = named(path);
    if (!packages.has(name)) packages.set(name, new Package());
    const one = packages.get(name), test = Test?.split('/')[0], top = Test === test;
    if (!test) {
      if (Action === 'output') one.output += Output;
      else if (Action === 'start') suite.begins(name);
      else if (['pass', 'fail', 'skip'].includes(Action)) finish(name, one, event);
      return;
    }
    if (Action === 'output') {
      if (!marks.test(Output)) one.tests.set(test, (one.tests.get(test) ?? '') + Output);
    } else if (Action === 'run' && top) {
      one.tests.set(test, one.tests.get(test) ?? '');
    } else if (top && ['pass', 'fail', 'skip'].includes(Action)) {
      const output = one.tests.get(test) ?? '';
      one.tests.delete(test);
      if (Action === 'pass') {
        one.passed++;
        suite.pass();
      } else if (Action === 'fail') {
        one.failed++;
        suite.fail(`${name}: ${test}`, output);
      } else {
        suite.skip(/^\s+\S+\.go:\d+: (.*)/m.exec(output)?.[1] ?? test);
      }
    }
  };

  // Some packages take minutes under the race detector, and much longer on a busy machine.
  const longest = existsSync(join(directory, 'hubsys')) ? ['./hubsys'] : []; // so that nothing waits for it at the end
  const { status, output } = await run(go, ['test', '-json', '-timeout', '30m', ...flags, ...longest, './...'], { cwd: directory, onLine: take });
  if (status !== 0 && !suite.failed) suite.fail('go test', output + rest);
}
