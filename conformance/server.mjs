// Starts the test server for a suite: Troupe's, or the original server where TROUPE_REFERENCE names the script that runs it. A suite that
// passes against both asks the right questions.
import { spawn, spawnSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');

// Programs are built into TROUPE_BIN, which a whole run of suites shares, or into a directory of this process's own.
const shared = process.env.TROUPE_BIN;
const directory = shared ?? mkdtempSync(join(tmpdir(), 'troupe-'));
if (!shared) process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

/** Where a program of this repository lies when it is built. */
export const binaryOf = program => join(directory, program.replaceAll('/', '-') + (process.platform === 'win32' ? '.exe' : ''));

/** Builds a program, unless that is done, and returns where it lies. */
export function build(program) {
  const binary = binaryOf(program);
  if (!existsSync(binary)) {
    const { status } = spawnSync('go', ['build', '-o', binary, `./${program}`], { cwd: root, stdio: 'inherit' });
    if (status !== 0) throw new Error(`${program} does not build`);
  }
  return binary;
}

/**
 * A TCP port of 127.0.0.1 that is free, or the first of several. It is none of those that systems give to whoever connects: one of the many
 * connections of other tests could take it before it is used. Browsers refuse some below.
 */
export async function freePort(count = 1) {
  for (;;) {
    const port = randomInt(11000, 32769 - count);
    let free = 0;
    while (free < count && await isFree(port + free)) free++;
    if (free === count) return port;
  }
}

function isFree(port) {
  return new Promise(answer => {
    const server = net.createServer().once('error', () => answer(false)).listen(port, '127.0.0.1', () => server.close(() => answer(true)));
  });
}

/** Whether the tests run against the original server. */
export const reference = Boolean(process.env.TROUPE_REFERENCE);

const children = new Set();
process.on('exit', () => children.forEach(child => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1)); // so that there is an 'exit'

/** Starts a program and waits until it accepts connections at port. exit and stop give its status, or null if a signal has ended it. */
export async function start(binary, args, port, options = {}) {
  const child = spawn(binary, args, { stdio: ['ignore', 'inherit', 'inherit'], ...options });
  children.add(child);
  let exited = false;
  const exit = new Promise(done => child.once('exit', status => { exited = true; children.delete(child); done(status); }));
  const until = Date.now() + 60_000;
  while (!(await accepts(port))) {
    if (exited || Date.now() > until) throw new Error(`${binary} does not serve`);
    await new Promise(wait => setTimeout(wait, 20));
  }
  return { pid: child.pid, exit, stop: (signal = 'SIGKILL') => { child.kill(signal); return exit; } };
}

function accepts(port) {
  return new Promise(answer => {
    const socket = net.connect(port, '127.0.0.1');
    socket.once('connect', () => { socket.destroy(); answer(true); });
    socket.once('error', () => answer(false));
  });
}

/** The test server with these flags; port can be given to start it where another one was. */
export async function startServer(flags = [], port) {
  return serve(process.env.TROUPE_REFERENCE, flags, port);
}

/** The same from the original: script runs it. */
export const startOriginal = (script, flags = []) => serve(script, flags);

async function serve(script, flags, port) {
  port ??= await freePort();
  const control = await freePort();
  const addresses = ['-addr', `127.0.0.1:${port}`, '-ctrl', `127.0.0.1:${control}`];
  const server = script
    ? await startReference(script, addresses, port, flags)
    : await start(build('conformance/testserver'), [...addresses, ...flags], port);
  return { ...server, port, url: `http://127.0.0.1:${port}`, control: `http://127.0.0.1:${control}` };
}

/** The original server. It takes from its environment what Troupe's test server takes as flags. */
async function startReference(path, addresses, port, flags) {
  const env = { ...process.env };
  for (let i = 0; i < flags.length; i++) {
    if (flags[i] === '-detailed=false') env.REF_DETAILED = '0';
    else if (flags[i] === '-parallel') env.REF_PARALLEL = flags[++i];
    else throw new Error(`the original server has no flag ${flags[i]}`);
  }
  const script = await start(path, addresses, port, { env });
  // The server is a child of the script, if that has not become the server itself.
  const pid = Number(await (await fetch(`http://127.0.0.1:${port}/pid`)).text());
  const server = { kill: signal => { try { process.kill(pid, signal); } catch { /* it has ended before */ } } };
  children.add(server);
  script.exit.then(() => children.delete(server));
  return { ...script, pid, stop: (signal = 'SIGKILL') => { server.kill(signal); return script.exit; } };
}
