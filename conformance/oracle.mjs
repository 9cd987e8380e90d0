// Compares the test server with the recorded answers of the reference server: node oracle.mjs DIRECTORY-OF-THE-ORACLE
//
// The recorded answers are taken as they are but for two things. Where the original names a type of exception, Troupe says "Error".
// And a negotiation lists the transports that are there. Cases of what is not built are named in oracle-left-out.json with the reason;
// one that passes all the same is reported, so that the list stays true.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { startServer } from './server.mjs';

const oracle = resolve(process.argv[2] ?? '../shared/oracle');
const here = import.meta.dirname;
const leftOut = JSON.parse(readFileSync(join(here, 'oracle-left-out.json'), 'utf8'));
const skipped = ['defect', 'dotnet-types', 'framing', 'app'].flatMap(tag => ['--skip-tag', tag]);

const temporary = mkdtempSync(join(tmpdir(), 'oracle-'));
const golden = JSON.parse(readFileSync(join(oracle, 'golden.json'), 'utf8'));
for (const one of Object.values(golden)) one.transcript = one.transcript.map(ours);
writeFileSync(join(temporary, 'golden.json'), JSON.stringify(golden));

function ours(line) {
  return line
    .replace(/\b(?!HubException\b)[A-Z]\w*Exception: /g, 'Error: ')
    .replace(/,\{"transport":"(ServerSentEvents|LongPolling)","transferFormats":\[[^\]]*\]\}/g, '');
}

const detailed = await startServer(['-json']);
const generic = await startServer(['-json', '-detailed=false']);

/** Compares cases, and returns those that agree and those that do not, with what is said about them. */
async function compare(...options) {
  const run = spawn('node', [join(oracle, 'oracle.mjs'), 'compare', '--url', detailed.url, '--url-generic', generic.url, '--golden', join(temporary, 'golden.json'), ...skipped, ...options],
    { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  for await (const chunk of run.stdout) output += chunk;
  const blocks = output.split(/^(?=ok   |DIFF )/m).map(block => ({ block, name: /^(?:ok  |DIFF) (.*)/.exec(block)?.[1] })).filter(({ name }) => name);
  return { same: blocks.filter(({ block }) => block.startsWith('ok')), different: blocks.filter(({ block }) => block.startsWith('DIFF')) };
}

const reason = name => Object.entries(leftOut).find(([, names]) => names.some(text => name.includes(text)))?.[0];
const { same, different } = await compare();
for (const { name } of same) if (reason(name)) console.log(`passes, though it is listed as left out: ${name}`);
let passed = same.length, failed = 0;
const left = different.filter(({ name }) => reason(name)).length;
for (const { name } of different.filter(({ name }) => !reason(name))) {
  // On a hub where calls run side by side, a busy machine can change the order of their answers: such a case is asked once more, alone.
  const again = (await compare('--only', name.replace(/ \((detailed|generic) errors\)$/, ''), '--parallel', '1')).different.find(one => one.name === name);
  console.log(again ? again.block : `asked again, alone: ${name}`);
  if (again) failed++; else passed++;
}
detailed.stop();
generic.stop();
rmSync(temporary, { recursive: true });
for (const [why, names] of Object.entries(leftOut)) console.log(`left out (${why}): ${names.join('; ')}`);
console.log(`oracle: ${passed} passed, ${failed} failed, ${left} left out`);
process.exitCode = failed || !passed ? 1 : 0;
