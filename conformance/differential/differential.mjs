// Plays random scenarios on Troupe's test server and on the original side by side, and compares what each client saw:
//
//   node differential.mjs RUN.SH-OF-THE-ORIGINAL [--seed N] [--scenarios N] [--at-once N] [--self]
//
// --self plays them twice on the original instead, which proves the comparison: it may find nothing. A difference is printed with the
// seed of its scenario, which alone brings it again (--seed N --scenarios 1), and with the shortest scenario that still shows it.
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { startOriginal, startServer } from '../server.mjs';
import { differences } from './compare.mjs';
import { play } from './player.mjs';
import { newScenario } from './scenario.mjs';

const { values, positionals: [script] } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: 'string' }, scenarios: { type: 'string', default: '200' }, 'at-once': { type: 'string', default: '4' }, self: { type: 'boolean' },
  },
});
if (!script) throw new Error('the script that runs the original is not named');
const first = Number(values.seed || Math.floor(Math.random() * 2 ** 31));
const count = Number(values.scenarios || 200);
const transcripts = 5; // as many differences are shown, the others only counted
const attempts = 40, haste = 1000; // to shorten a scenario, and how long one of them waits for what does not come

const original = await startOriginal(resolve(script));
const ours = values.self ? await startOriginal(resolve(script)) : await startServer(['-json']);
console.log(`seed ${first}, ${count} scenarios: the original, and ${values.self ? 'the original again' : 'Troupe'}`);

const different = [];
let next = first, played = 0;
await Promise.all(Array.from({ length: Number(values['at-once']) }, async () => {
  while (next < first + count) {
    const scenario = newScenario(next++);
    const found = await compare(scenario);
    played++;
    if (found.length) {
      different.push({ scenario, found });
      console.log(`seed ${scenario.seed}: different, on ${scenario.hub}`);
    }
  }
}));
different.sort((one, other) => one.scenario.seed - other.scenario.seed);
for (const { scenario, found } of different.slice(0, transcripts)) await show(scenario, found);
console.log(`${played} scenarios played, ${different.length} different${different.length ? `: ${different.map(({ scenario: { seed } }) => seed).join(' ')}` : ''}`);
process.exitCode = different.length ? 1 : 0;
await Promise.all([original.stop(), ours.stop()]);

/** What differs. A scenario that cannot be played is different, too. */
async function compare(scenario, patience) {
  const [one, other] = await Promise.allSettled([original, ours].map(({ url }) => play(scenario, url, patience)));
  if (one.status === 'fulfilled' && other.status === 'fulfilled') return differences(scenario, one.value, other.value, values.self);
  const texts = [one, other].map(({ reason }) => [reason ? `cannot be played: ${reason.message}` : 'is played']);
  return [{ who: 0, texts }];
}

/** Prints the shortest scenario in which the difference comes again, and what both servers did. */
async function show(scenario, found) {
  console.log(`\nseed ${scenario.seed}`);
  const again = await compare(scenario);
  if (!again.length) console.log('  The same when it is played again: it depends on time.');
  const together = Number(values['at-once']);
  let candidates = again.length ? [...shortened(scenario)] : [];
  for (let left = attempts; left > 0 && candidates.length; left -= together) {
    const some = candidates.splice(0, together).map(renamed);
    const results = await Promise.all(some.map(one => compare(one, haste)));
    const i = results.findIndex(result => result.length);
    if (i < 0) continue;
    [scenario, found] = [some[i], results[i]];
    candidates = [...shortened(scenario)];
  }
  const { hub, clients, steps } = scenario;
  console.log(`  ${hub}, clients: ${clients.map(({ transport }, i) => `${i} ${transport}`).join(', ')}, ${clients.length} witness`);
  steps.forEach((step, i) => console.log(`  step ${i}: ${told(step)}`));
  for (const { who, texts: [theirs, ours] } of found) {
    console.log(`  client ${who}`);
    const only = (some, others) => some.filter(line => !others.includes(line));
    const [them, us] = [only(theirs, ours), only(ours, theirs)];
    // Lines that are the same but in another order are shown whole.
    const both = them.length || us.length ? [them, us] : [theirs, ours];
    for (const line of both[0]) console.log(`    original: ${line}`);
    for (const line of both[1]) console.log(`    ${values.self ? 'again:   ' : 'Troupe:  '} ${line}`);
  }
}

/** The scenario with names of its own: it can be played beside others that came from the same. */
function renamed(scenario, i) {
  const { seed, tag } = scenario;
  const other = `s${seed}${'abcdefgh'[i % 8]}`;
  return JSON.parse(JSON.stringify(scenario).replaceAll(new RegExp(`\\b${tag}\\b`, 'g'), other));
}

/** The scenario without a step, without a client's part, without a write, without a call: the largest first. */
function* shortened(scenario) {
  const { steps } = scenario;
  const withSteps = changed => ({ ...scenario, steps: changed });
  const without = (list, i) => list.filter((_, j) => j !== i);
  const half = Math.floor(steps.length / 2);
  if (half) yield withSteps(steps.slice(half));
  for (let i = steps.length - 1; i >= 0; i--) if (steps.length > 1) yield withSteps(without(steps, i));
  for (const [i, step] of steps.entries()) {
    const changed = one => withSteps(steps.with(i, { ...step, ...one }));
    if (step.kind === 'leave' && step.calls.length) {
      const middle = Math.ceil(step.calls.length / 2);
      yield changed({ calls: step.calls.slice(0, middle) });
      yield changed({ calls: step.calls.slice(middle) });
    }
    if (step.kind !== 'calls') continue;
    for (const j of step.parts.keys()) if (step.parts.length > 1) yield changed({ parts: without(step.parts, j) });
    for (const [j, part] of step.parts.entries()) {
      const parts = writes => changed({ parts: step.parts.with(j, { ...part, writes }) });
      for (const k of part.writes.keys()) {
        if (part.writes.length > 1) yield parts(without(part.writes, k));
        const { calls, pause } = part.writes[k];
        const middle = Math.ceil(calls.length / 2);
        if (calls.length > 1) {
          yield parts(part.writes.with(k, { calls: calls.slice(0, middle), pause }));
          yield parts(part.writes.with(k, { calls: calls.slice(middle), pause }));
        }
      }
    }
  }
}

function told(step) {
  const calls = all => all.map(({ kind, method, args, id }) => `${kind} ${method}(${args.map(arg => JSON.stringify(arg)).join(', ')}) as ${id}`).join('; ');
  switch (step.kind) {
    case 'pause': return `nothing for ${step.ms} ms`;
    case 'cancel': return `client ${step.who} cancels ${step.id}`;
    case 'leave': return `client ${step.who}: ${calls(step.calls) || 'nothing'}; then ${step.how}${step.atOnce ? ', in one' : ''}`;
    case 'calls': return step.parts.map(({ who, writes }) => `client ${who}: ${writes.map(write => calls(write.calls)).join(' | ')}`).join('\n          ');
  }
}
