// Compares the test server with what the original server has answered, or asks the original anew:
//
//   node oracle.mjs [DIRECTORY-OF-THE-ORACLE] [options of the oracle, such as --only TEXT]
//   node oracle.mjs record DIRECTORY-OF-THE-ORACLE RUN.SH-OF-THE-ORIGINAL
//
// The cases are the oracle's and those in cases/, whose answers are in cases/golden.json; "record" writes that file. Both sets run in a
// directory in which the oracle's modules and the cases lie together: our cases, too, import '../case.mjs'.
//
// Recorded answers are taken as they are but for the types of exceptions, for which Troupe says "Error". Where Troupe means to answer
// otherwise, cases/differs.json says why and how, and holds it to that.
// Cases of what is not built are named in oracle-left-out.json with the reason; one that passes all the same is reported, so that the
// list stays true.
import { spawn } from 'node:child_process';
import { constants, copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { startOriginal, startServer } from './server.mjs';

const ours = join(import.meta.dirname, 'cases');
const temporary = mkdtempSync(join(tmpdir(), 'oracle-'));
process.on('exit', () => rmSync(temporary, { recursive: true, force: true }));
const json = file => JSON.parse(readFileSync(file, 'utf8'));

/** Copies the oracle's modules and the cases of these directories beside each other; a name may occur but once. */
function lay(oracle, ...cases) {
  const copy = (from, to) => {
    mkdirSync(to, { recursive: true });
    for (const file of readdirSync(from).filter(file => file.endsWith('.mjs'))) copyFileSync(join(from, file), join(to, file), constants.COPYFILE_EXCL);
  };
  copy(oracle, temporary);
  for (const from of cases) copy(from, join(temporary, 'cases'));
}

/** What the oracle writes when it is run on two servers. */
async function ask(command, url, urlGeneric, ...options) {
  const run = spawn('node', [join(temporary, 'oracle.mjs'), command, '--url', url, '--url-generic', urlGeneric, ...options], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  for await (const chunk of run.stdout) output += chunk;
  return output;
}

const [first = '../shared/oracle', ...others] = process.argv.slice(2);
if (first !== 'record') await compareAll(resolve(first), others);
else if (others.length === 2) await record(...others.map(path => resolve(path)));
else throw new Error('record needs the directory of the oracle and the script that runs the original');

/** Writes down what the original answers, if it answers the same three times. */
async function record(oracle, run) {
  lay(oracle, ours);
  // One after the other, for the first may have to unpack itself.
  const detailed = await startOriginal(run), generic = await startOriginal(run, ['-detailed=false']);
  const thrice = async (...options) => {
    const takes = [];
    for (let i = 0; i < 3; i++) takes.push(JSON.parse(await ask('record', detailed.url, generic.url, ...options)));
    return takes;
  };
  const transcripts = (takes, name) => takes.map(take => take[name].transcript.join('\n  '));
  const unsteady = takes => Object.keys(takes[0]).filter(name => {
    const [one, ...others] = transcripts(takes, name);
    return /^ *! /m.test(one) || others.some(other => other !== one);
  });
  const takes = await thrice();
  const golden = takes[0];
  let bad = unsteady(takes);
  if (bad.length) {
    // A busy machine can be the reason.
    console.log(`asked again, one by one: ${bad.join('; ')}`);
    const again = await thrice('--parallel', '1', ...bad.flatMap(name => ['--only', name.replace(/ \((detailed|generic) errors\)$/, '')]));
    for (const name of bad) golden[name] = again[0][name];
    bad = unsteady(again);
    for (const name of bad) for (const [i, text] of transcripts(again, name).entries()) console.log(`${name}, take ${i + 1}:\n  ${text}`);
  }
  detailed.stop();
  generic.stop();
  process.exitCode = bad.length ? 1 : 0;
  if (bad.length) return console.log(`nothing recorded: ${bad.length} cases are not answered the same three times`);
  writeFileSync(join(ours, 'golden.json'), JSON.stringify(golden, null, 1) + '\n');
  console.log(`${Object.keys(golden).length} cases recorded`);
}

async function compareAll(oracle, options) {
  lay(oracle, join(oracle, 'cases'), ours);
  const golden = join(temporary, 'golden.json');
  const recorded = { ...json(join(oracle, 'golden.json')), ...json(join(ours, 'golden.json')) };
  const differing = Object.assign({}, ...Object.values(json(join(ours, 'differs.json'))));
  for (const name of Object.keys(differing)) if (!recorded[name]) throw new Error(`differs.json names ${name}, and there is no such case`);
  for (const [name, transcript] of Object.entries(differing)) recorded[name].transcript = transcript;
  for (const one of Object.values(recorded)) one.transcript = one.transcript.map(line => line.replace(/\b(?!HubException\b)[A-Z]\w*Exception: /g, 'Error: '));
  writeFileSync(golden, JSON.stringify(recorded));
  const leftOut = json(join(import.meta.dirname, 'oracle-left-out.json'));
  // What is of .NET, of its HTTP server or of its test application, and what Troupe means to answer otherwise.
  const skipped = ['dotnet-types', 'framing', 'app', 'defect', 'user-change'].flatMap(tag => ['--skip-tag', tag]);
  const detailed = await startServer(['-json']);
  const generic = await startServer(['-json', '-detailed=false']);

  /** Compares cases, and returns those that agree and those that do not, with what is said about them. */
  const compare = async (...options) => {
    const output = await ask('compare', detailed.url, generic.url, '--golden', golden, ...options);
    if (!/^\d+ passed, \d+ failed$/m.test(output)) throw new Error('the oracle has ended before its last case');
    const blocks = output.split(/^(?=ok   |DIFF )/m).map(block => ({ block, name: /^(?:ok  |DIFF) (.*)/.exec(block)?.[1] })).filter(({ name }) => name);
    return { same: blocks.filter(({ block }) => block.startsWith('ok')), different: blocks.filter(({ block }) => block.startsWith('DIFF')) };
  };
  const reason = name => Object.entries(leftOut).find(([, names]) => names.some(text => name.includes(text)))?.[0];
  const { same, different } = await compare(...skipped, ...options);
  if (!options.length) {
    // Names are looked for as parts of names, which may find more; and some of these cases have been compared above.
    const compared = new Set([...same, ...different].map(({ name }) => name)), isNew = ({ name }) => name in differing && !compared.has(name);
    const meant = await compare(...Object.keys(differing).flatMap(name => ['--only', name]));
    same.push(...meant.same.filter(isNew));
    different.push(...meant.different.filter(isNew));
  }
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
  for (const [why, names] of Object.entries(leftOut)) console.log(`left out (${why}): ${names.join('; ')}`);
  console.log(`oracle: ${passed} passed, ${failed} failed, ${left} left out`);
  process.exitCode = failed || !passed ? 1 : 0;
}
