// Runs the suites with the official clients, as far as this machine can, and says plainly what it has left out.
// TROUPE_REQUIRE=chromium makes it a failure that there is no browser.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

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

const unknown = required.filter(name => name !== 'chromium');
if (unknown.length) throw new Error(`TROUPE_REQUIRE names what is not known here: ${unknown}`);

const installed = existsSync(join(here, 'node_modules', '@microsoft', 'signalr-protocol-msgpack')) ||
  run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund']);
if (!installed) {
  console.error('The clients could not be installed from npm.');
  process.exit(1);
}

process.env.TROUPE_BIN = mkdtempSync(join(tmpdir(), 'troupe-'));
const { build } = await import('./server.mjs');
build('conformance/testserver');
build('cmd/demo');
const { findBrowser } = await import('./browser/browser.mjs');
const suites = ['node'];
const browser = await findBrowser();
if (browser) suites.push('browser');
else without('chromium', 'neither @sparticuz/chromium nor an installed Chrome or Chromium can be started');

for (const suite of suites) {
  const files = readdirSync(join(here, suite)).filter(name => name.endsWith('.test.mjs')).map(name => join(suite, name));
  failed = !run(process.execPath, ['--test', '--test-reporter=spec', ...files]) || failed;
}
rmSync(process.env.TROUPE_BIN, { recursive: true, force: true });
for (const one of leftOut) console.log(`LEFT OUT: ${one}`);
process.exitCode = failed ? 1 : 0;
