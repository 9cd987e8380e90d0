// Starts the programs that suites consist of.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const children = new Set();

/** Ends everything that was started here. */
export const killAll = () => children.forEach(child => child.kill());

/** Runs a program to its end. onLine gets the lines that it prints; else they are output. Returns its status and its output. */
export async function run(command, args, { onLine, ...options } = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  children.add(child);
  let output = '';
  child.stderr.setEncoding('utf8').on('data', text => { output += text; });
  const closed = new Promise(done => {
    child.once('error', error => { output += `${error.message}\n`; done(1); }).once('close', (status, signal) => done(status ?? signal));
  });
  if (onLine) {
    const lines = createInterface({ input: child.stdout, crlfDelay: Infinity }).on('line', onLine);
    const read = new Promise(done => lines.once('close', done));
    const status = await closed;
    await read;
    children.delete(child);
    return { status, output };
  }
  child.stdout.setEncoding('utf8').on('data', text => { output += text; });
  const status = await closed;
  children.delete(child);
  return { status, output };
}
