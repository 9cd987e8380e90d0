// Runs the tests, as far as this machine can, shows how far they are, and says at the end what ran and what was left out.
//
//   node run.mjs [go] [clients] [node] [classic] [cluster] [browser] [proxies] [java] [node/users] [java/CloseTest] ...
//
// go are the tests in Go; clients, which nothing else means, are all suites with the official clients. A single file or class can be named.
// TROUPE_REQUIRE=chromium,java,nginx,haproxy,race,namespaces,python makes it a failure that there is no browser, no Java, no such proxy, no race
// detector, that network namespaces cannot be made, or that a client for Python cannot be installed; the tests find out the last two themselves.
// TROUPE_REFERENCE=path/to/run.sh runs the suites with clients against the original server instead of ours.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { killAll, run } from './runner/command.mjs';
import { Display } from './runner/display.mjs';
import { go, runGo, whyNoRaceDetector } from './runner/go.mjs';
import { runJava, whyNoJava } from './runner/java.mjs';
import { runFiles } from './runner/node.mjs';

const here = import.meta.dirname, root = resolve(here, '..');
const clients = ['node', 'classic', 'cluster', 'browser', 'proxies', 'java'];
const leftOut = [];
const lacking = [];

const required = (process.env.TROUPE_REQUIRE ?? '').split(',').filter(Boolean);
const unknown = required.filter(name => !['chromium', 'java', 'nginx', 'haproxy', 'race', 'namespaces', 'python'].includes(name));
if (unknown.length) throw new Error(`TROUPE_REQUIRE names what is not known here: ${unknown}`);

function without(what, why) {
  leftOut.push(`${what}: ${why}`);
  if (required.includes(what)) lacking.push(what);
}

/** What is to run: a suite, and the names of those parts of it that are wanted; none for all. */
const chosen = new Map();
for (const argument of process.argv.length > 2 ? process.argv.slice(2) : ['clients']) {
  const [name, part] = argument.split('/');
  if (![...clients, 'go', 'clients'].includes(name) || (part && ['go', 'clients'].includes(name))) {
    console.error(`There is no suite ${argument}: there are go, clients, ${clients.join(', ')}, and files of those, such as node/users.`);
    process.exit(2);
  }
  const file = part && basename(part).replace(/(\.test\.mjs|\.java)$/, '');
  if (file && !existsSync(join(here, name, name === 'java' ? `src/${file}.java` : `${file}.test.mjs`))) {
    console.error(`There is no ${argument}.`);
    process.exit(2);
  }
  for (const suite of name === 'clients' ? clients : [name]) chosen.set(suite, [...(chosen.get(suite) ?? []), ...(file ? [file] : [])]);
}

const reference = process.env.TROUPE_REFERENCE && resolve(process.env.TROUPE_REFERENCE);
if (reference) process.env.TROUPE_REFERENCE = reference;

const display = new Display();
const suites = [];

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    killAll();
    display.summary({ leftOut, lacking, interrupted: true });
    process.exit(130);
  });
}

if (chosen.has('go')) {
  const whyNot = whyNoRaceDetector();
  if (whyNot) without('race', whyNot);
  suites.push(['Go', suite => runGo(suite, root, { race: !whyNot, systems: ['darwin', 'windows'] })]);
  suites.push(['Go under middleware', suite => runGo(suite, join(here, 'middleware'), { race: !whyNot })]);
}

if (clients.some(name => chosen.has(name))) await prepareClients();

async function prepareClients() {
  const { dependencies, devDependencies } = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8'));
  if (!Object.keys({ ...dependencies, ...devDependencies }).every(name => existsSync(join(here, 'node_modules', name)))) {
    console.log('The official clients are fetched from npm.');
    const { status, output } = await run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: here });
    if (status !== 0) {
      suites.push(['Clients', suite => suite.fail('The clients could not be installed from npm', output)]);
      return;
    }
  }
  process.env.TROUPE_BIN = mkdtempSync(join(tmpdir(), 'troupe-'));
  process.on('exit', () => rmSync(process.env.TROUPE_BIN, { recursive: true, force: true }));
  const { binaryOf, startServer } = await import('./server.mjs');

  /** Builds the programs that clients call, if that is not done yet. */
  const built = async suite => {
    for (const program of reference ? [] : ['conformance/testserver', 'cmd/demo'].filter(program => !existsSync(binaryOf(program)))) {
      suite.begins(`go build ${program}`);
      const { status, output } = await run(go, ['build', '-o', binaryOf(program), `./${program}`], { cwd: root });
      suite.ends(`go build ${program}`);
      if (status !== 0) {
        suite.fail(`${program} does not build`, output);
        return false;
      }
    }
    return true;
  };

  /** A suite of files, of those that keep lets pass. */
  const files = (title, directory, keep = () => true) => {
    if (!chosen.has(directory)) return;
    const only = chosen.get(directory);
    const names = readdirSync(join(here, directory)).filter(name => name.endsWith('.test.mjs') && (!only.length || only.includes(name.replace('.test.mjs', ''))) && keep(name));
    if (names.length) {
      suites.push([title, async suite => {
        if (await built(suite)) await runFiles(suite, names.map(name => join(directory, name)), here);
      }]);
    }
  };

  files('Node clients', 'node');
  if (!reference) { // the original of these tests has nothing for them
    files('SignalR 2 clients', 'classic');
    files('Several nodes', 'cluster');
  }

  let browser = false;
  if (chosen.has('browser') || chosen.has('proxies')) {
    const { findBrowser } = await import('./browser/browser.mjs');
    browser = await findBrowser();
    if (!browser) without('chromium', 'neither @sparticuz/chromium nor an installed Chrome or Chromium can be started');
  }
  if (browser) {
    if (reference && chosen.has('browser')) without('demo', 'the original has no such program');
    files('Browser', 'browser', name => !reference || !['demo.test.mjs', 'demo-cluster.test.mjs', 'classic.test.mjs'].includes(name));
  }

  // What is tested through proxies is not what the original answers, but that it gets through.
  if (chosen.has('proxies') && !reference) {
    const { whyNot } = await import('./proxies/proxies.mjs');
    const there = ['nginx', 'haproxy'].filter(name => {
      const why = whyNot(name);
      if (why) without(name, why);
      return !why;
    });
    files('Proxies', 'proxies', name => (name === 'browser.test.mjs' ? browser && there.length : there.some(proxy => name === `${proxy}.test.mjs`)));
  }

  if (chosen.has('java')) {
    const whyNot = whyNoJava();
    if (whyNot) without('java', whyNot);
    else {
      suites.push(['Java client', async suite => {
        if (!(await built(suite))) return;
        const server = await startServer();
        await runJava(suite, join(here, 'java'), server.url, chosen.get('java'));
        await server.stop();
      }]);
    }
  }
}

console.log(`${suites.length} ${suites.length === 1 ? 'suite' : 'suites'}: ${suites.map(([title]) => title).join(', ')}`);
for (const one of leftOut) console.log(`LEFT OUT: ${one}`);
for (const [i, [title, runSuite]] of suites.entries()) {
  const suite = display.begin(title, `[${i + 1}/${suites.length}]`);
  try {
    await runSuite(suite);
    if (!suite.passed && !suite.failed && !suite.skipped) suite.fail('no test has run', '');
  } catch (error) {
    suite.fail('the suite cannot run', `${error.stack}`);
  }
  display.end(suite);
}
display.summary({ leftOut, lacking });
process.exitCode = lacking.length || !suites.length || display.suites.some(({ failed }) => failed) ? 1 : 0;
