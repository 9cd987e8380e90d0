// Runs the suite in Java by Maven, against one test server.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './command.mjs';

/** Why it cannot run here, if it cannot. */
export function whyNoJava() {
  let version;
  for (const command of ['java', 'javac', 'mvn']) {
    const { status, stdout } = spawnSync(command, ['--version'], { encoding: 'utf8' });
    if (status !== 0) return `${command} cannot be started`;
    version = /^Java version: (\d+)/m.exec(stdout)?.[1];
  }
  if (!(version >= 17)) return `Maven runs with Java ${version}, and 17 is needed`;
}

/** How many tests there are: each runs over every transport that AgainstServer lists. */
function count(sources, only) {
  const read = name => readFileSync(join(sources, name), 'utf8');
  const transports = /@EnumSource\(names = \{(.*?)\}\)/.exec(read('AgainstServer.java'))[1].split(',').length;
  const classes = readdirSync(sources).filter(name => name.endsWith('Test.java') && (!only.length || only.includes(name.replace('.java', ''))));
  return transports * classes.reduce((sum, name) => sum + read(name).match(/@Test\b/g).length, 0);
}

const unescape = text => text.replace(/&(quot|lt|gt|apos|amp);/g, (_, name) => ({ quot: '"', lt: '<', gt: '>', apos: "'", amp: '&' })[name]);

/** The tests in Maven's report of a class, each with what is wrong with it. */
function* testsIn(report) {
  for (const [, name, className, , inner = ''] of report.matchAll(/<testcase name="([^"]*)" classname="([^"]*)"[^>]*?(\/>|>([\s\S]*?)<\/testcase>)/g)) {
    const skipped = /<skipped[\s\S]*?Assumption failed: (.*)/.exec(inner)?.[1];
    yield { name: unescape(`${className.replace(/\[.*/, '')}.${name}`), skipped: skipped ?? (inner.includes('<skipped') && 'skipped'), failed: /<(failure|error)\b/.test(inner) };
  }
}

/** only: names of classes, if not all are to run. */
export async function runJava(suite, project, url, only = []) {
  const reports = join(project, 'target', 'surefire-reports');
  rmSync(reports, { recursive: true, force: true });
  suite.total = count(join(project, 'src'), only);
  // A report is written anew for each transport. Each test counts once.
  const seen = new Set(), failed = [], passed = new Map();
  let label = 'Maven';
  const look = () => {
    for (const file of existsSync(reports) ? readdirSync(reports).filter(name => /^TEST-.*\.xml$/.test(name)) : []) {
      for (const { name, skipped, ...test } of testsIn(readFileSync(join(reports, file), 'utf8'))) {
        if (seen.has(name)) continue;
        seen.add(name);
        suite.ends(label);
        suite.begins(label = name.split('.')[0]);
        if (test.failed) failed.push(name);
        else if (skipped) suite.skip(skipped);
        else {
          suite.pass();
          passed.set(label, (passed.get(label) ?? 0) + 1);
        }
      }
    }
  };
  suite.begins(label);
  const timer = setInterval(look, 500);
  const filter = only.length ? [`-Dtest=${only.join(',')}`] : [];
  const { status, output } = await run('mvn', ['-q', '-B', ...filter, 'test'], { cwd: project, env: { ...process.env, TROUPE_URL: url } });
  clearInterval(timer);
  look();
  suite.ends(label);
  suite.line([...passed].map(([name, count]) => `${name} ${count}`).join(', '));
  // Maven tells everything about all that has failed; the reports tell the names.
  if (status === 0) return;
  if (!failed.length) suite.fail('Maven', output);
  else failed.forEach((name, i) => suite.fail(name, i ? 'see above' : output.replace(/\x1b\[[0-9;]*m/g, '').trim()));
}
