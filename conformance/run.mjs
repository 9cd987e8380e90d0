// Runs the suites with the official clients, as far as this machine can, and says plainly what it has left out.
// TROUPE_REQUIRE=chromium,java,nginx,haproxy makes it a failure that there is no browser, no Java, or no such proxy.
// TROUPE_REFERENCE=path/to/run.sh runs them against the original server instead of ours.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const here = import.meta.dirname;
const required = (process.env.TROUPE_REQUIRE ?? '').split(',').filter(Boolean);
const leftOut = [];
let failed = false;

function run(command, args, options = {}) {
  const { status, error } = spawnSync(command, args, { cwd: here, stdio: 'inherit', ...options });
  if (error) console.error(error.message);
  return status === 0;
}

function without(what, why) {
  leftOut.push(`${what}: ${why}`);
  if (required.includes(what)) failed = true;
}

/** Why the suite in Java cannot run here, if it cannot. */
function whyNoJava() {
  let version;
  for (const command of ['java', 'javac', 'mvn']) {
    const { status, stdout } = spawnSync(command, ['--version'], { encoding: 'utf8' });
    if (status !== 0) return `${command} cannot be started`;
    version = /^Java version: (\d+)/m.exec(stdout)?.[1];
  }
  if (!(version >= 17)) return `Maven runs with Java ${version}, and 17 is needed`;
}

/** Maven tells what fails; its reports, how much there was. */
async function runJava() {
  const project = join(here, 'java'), reports = join(project, 'target', 'surefire-reports');
  rmSync(reports, { recursive: true, force: true });
  const server = await startServer();
  const passed = run('mvn', ['-q', '-B', 'test'], { cwd: project, env: { ...process.env, TROUPE_URL: server.url } });
  await server.stop();
  let tests = 0;
  const suites = existsSync(reports) ? readdirSync(reports).filter(name => name.endsWith('.xml')) : [];
  const lines = suites.map(name => {
    const [head] = /<testsuite [^>]*>/.exec(readFileSync(join(reports, name), 'utf8'));
    const number = attribute => Number(new RegExp(` ${attribute}="(\\d+)"`).exec(head)[1]);
    const run = number('tests') - number('skipped');
    tests += run;
    return `${/TEST-(.*)\.xml/.exec(name)[1]} ${run}`;
  });
  console.log(`java: ${tests} tests over WebSockets and long polling (${lines.join(', ')})`);
  return passed && tests > 0;
}

const unknown = required.filter(name => !['chromium', 'java', 'nginx', 'haproxy'].includes(name));
if (unknown.length) throw new Error(`TROUPE_REQUIRE names what is not known here: ${unknown}`);

const installed = existsSync(join(here, 'node_modules', '@microsoft', 'signalr-protocol-msgpack')) ||
  run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund']);
if (!installed) {
  console.error('The clients could not be installed from npm.');
  process.exit(1);
}

const reference = process.env.TROUPE_REFERENCE && resolve(process.env.TROUPE_REFERENCE);
if (reference) process.env.TROUPE_REFERENCE = reference;
process.env.TROUPE_BIN = mkdtempSync(join(tmpdir(), 'troupe-'));
const { build, startServer } = await import('./server.mjs');
if (!reference) {
  build('conformance/testserver');
  build('cmd/demo');
}
const { findBrowser } = await import('./browser/browser.mjs');
const suites = ['node'];
const browser = await findBrowser();
if (browser) suites.push('browser');
else without('chromium', 'neither @sparticuz/chromium nor an installed Chrome or Chromium can be started');

/** The proxies that can be started. What is tested through them is not what the original answers, but that it gets through. */
const { whyNot } = await import('./proxies/proxies.mjs');
const proxies = reference ? [] : ['nginx', 'haproxy'].filter(name => {
  const why = whyNot(name);
  if (why) without(name, why);
  return !why;
});
if (proxies.length) suites.push('proxies');

for (const suite of suites) {
  let names = readdirSync(join(here, suite)).filter(name => name.endsWith('.test.mjs'));
  if (suite === 'proxies') names = names.filter(name => (name === 'browser.test.mjs' ? browser : proxies.some(proxy => name === `${proxy}.test.mjs`)));
  if (reference && names.includes('demo.test.mjs')) {
    names = names.filter(name => name !== 'demo.test.mjs');
    without('demo', 'the original has no such program');
  }
  if (names.length) failed = !run(process.execPath, ['--test', '--test-reporter=spec', ...names.map(name => join(suite, name))]) || failed;
}

const noJava = whyNoJava();
if (noJava) without('java', noJava);
else failed = !(await runJava()) || failed;

rmSync(process.env.TROUPE_BIN, { recursive: true, force: true });
for (const one of leftOut) console.log(`LEFT OUT: ${one}`);
process.exitCode = failed ? 1 : 0;
