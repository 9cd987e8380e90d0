// Runs the QUnit suites of the client of SignalR 2, from a checkout of SignalR/SignalR, in a browser against the test server.
//
//   node qunit.mjs CHECKOUT [unit] [functional]
//
// It fails if fewer tests pass than with the original server.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { launch } from '../browser/browser.mjs';
import { startServer } from '../server.mjs';
import { serveSite } from './site.mjs';

/** The suites: the query of their page, and how many tests pass with the original. The functional ones skip six, which are for other browsers. */
const suites = [
  { name: 'unit', query: 'runFunctional=false', passing: 97 },
  { name: 'functional', query: 'runUnit=false', passing: 266 },
];

/** These fail with the original as well: they look for an abort in jQuery's requests, and the client makes it by fetch. */
const knownFailures = ['serverSentEvents', 'longPolling'].map(transport => `Ajax Replacement Functional Tests: ${transport}: Connection stop utilizes signalr defaults correctly. (Functional)`);

/** How many seconds most tests may take, and how many the page may tell nothing. Some tests may take four times as long. */
const patience = 30, silence = 180;

/** Runs in the page. It tells how many tests there are, each test that is done, with what has failed in it, and the end. */
function report() {
  const { QUnit, tell } = window;
  const dump = value => QUnit.dump.parse(value);
  let failures = [];
  QUnit.begin(({ totalTests }) => tell({ total: totalTests }));
  QUnit.log(({ result, message, expected, actual, source }) => {
    if (!result) failures.push(`${message}: expected ${dump(expected)}, got ${dump(actual)}\n${source ?? ''}`);
  });
  QUnit.testDone(({ module, name, skipped }) => {
    tell({ test: `${module}: ${name}`, skipped, failures });
    failures = [];
  });
  QUnit.done(() => tell({ done: true }));
}

const [checkout, ...names] = process.argv.slice(2);
if (!checkout || !existsSync(join(checkout, 'test/Microsoft.AspNet.SignalR.Client.JS.Tests'))) {
  console.error(`There is no checkout of SignalR/SignalR at ${checkout}: git clone --branch 2.4.3 https://github.com/SignalR/SignalR`);
  process.exit(2);
}
const server = await startServer(['-qunit']);
const site = await serveSite(checkout, server.port, `(${report})();`);
// The suites name sites that they do not need.
const browser = await launch(['--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1']);
if (!browser) throw new Error('no browser can be started');
for (const suite of suites.filter(({ name }) => !names.length || names.includes(name))) {
  if (!await run(suite)) process.exitCode = 1;
}
await browser.close();
site.close();
await server.stop();

/** Runs a suite, and tells whether all tests pass that should. */
async function run({ name, query, passing }) {
  const count = { passed: 0, failed: 0, skipped: 0 };
  const began = Date.now();
  let total, unexpected = 0;
  const ended = ({ test, skipped, failures }) => {
    count[skipped ? 'skipped' : failures.length ? 'failed' : 'passed']++;
    if (failures.length) {
      const known = knownFailures.includes(test);
      if (!known) unexpected++;
      console.log(`${known ? 'FAILED, as with the original' : 'FAILED'}: ${test}\n${failures.join('\n').replace(/^/gm, '    ')}`);
    }
    const done = count.passed + count.failed + count.skipped;
    if (done % 25 === 0) console.log(`${name}: ${done} of ${total}`);
  };

  const page = await browser.newPage();
  await new Promise((done, broken) => {
    const timer = setTimeout(() => broken(new Error(`the page of ${name} has told nothing for ${silence} s`)), silence * 1000);
    page.on('crash', () => broken(new Error(`the page of ${name} has crashed`)));
    page.exposeFunction('tell', message => {
      timer.refresh();
      if (message.total) total = message.total;
      if (message.test) ended(message);
      if (message.done) done(clearTimeout(timer));
    }).then(() => page.goto(`${site.url}?${query}&defaultTestTimeout=${patience}`)).catch(broken);
  });
  await page.close();
  const seconds = Math.round((Date.now() - began) / 1000);
  console.log(`${name}: ${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped, of ${total}, in ${seconds} s; with the original ${passing} pass`);
  return !unexpected && count.passed >= passing;
}
