// A client for Python that others have written, signalr-client, over WebSockets and Server-Sent Events.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Inbox } from '../inbox.mjs';
import { killAll, run } from '../runner/command.mjs';
import { binaryOf } from '../server.mjs';
import { generic, serverForAll, upTo } from './client.mjs';

const beside = name => join(import.meta.dirname, 'python', name);
const environment = binaryOf('python'), python = join(environment, process.platform === 'win32' ? 'Scripts' : 'bin', 'python');

/** Makes an environment with the packages, and returns why it cannot, if it cannot. */
function install() {
  const pip = ['-m', 'pip', 'install', '-q', '--disable-pip-version-check', '--retries', '1', '--timeout', '15', '-r', beside('requirements.txt')];
  for (const [command, args] of [['python3', ['-m', 'venv', environment]], [python, pip]]) {
    const { error, status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
    if (status !== 0) return `python3 cannot install the client: ${error?.message ?? `${stdout}\n${stderr}`.trim().split('\n').at(-1)}`;
  }
  return '';
}

/** The same, of the environment that this process, or the run of all suites, has already. */
function whyNoPython() {
  const answer = `${environment}.txt`;
  if (!existsSync(answer)) writeFileSync(answer, install());
  return readFileSync(answer, 'utf8');
}

const shared = serverForAll(), why = whyNoPython(), required = process.env.TROUPE_REQUIRE?.split(',').includes('python');

for (const transport of ['webSockets', 'serverSentEvents']) {
  test(transport, { skip: !required && why }, async t => {
    assert.equal(why, '', 'TROUPE_REQUIRE wants python');
    const user = `${transport} of Python`, group = `group of ${user}`, ada = { Name: 'Ada', Age: 36, Address: { Street: 'here', Zip: '1' }, Tags: ['x'] };
    const calls = [
      ['WhoAmI'], ['Echo', 'a+b&c\u{1f600}'], ['Add', 1, 2], ['Nothing'], ['EchoPerson', ada], ['Fail'], ['FailHub'],
      ['CallMany', 500], ['CallPerson', ada], ['Join', group],
    ];
    const inboxes = Object.fromEntries(['answer', 'error', 'got', 'gotPerson'].map(what => [what, new Inbox(what)]));
    const onLine = line => {
      const [what, value] = JSON.parse(line);
      inboxes[what].push(value);
    };
    t.after(killAll);
    const ended = run(python, [beside('client.py'), `${shared.url}/signalr`, transport, JSON.stringify({ user }), JSON.stringify(calls)], { onLine });

    const answers = (await inboxes.answer.take(calls.length)).toSorted((one, two) => one.I - two.I);
    const id = answers[0].R.Id, fail = generic('Fail', 'TestHub').message;
    assert.deepEqual(answers, [
      { R: { Id: id, User: user } }, { R: 'a+b&c\u{1f600}' }, { R: 3 }, {}, { R: ada }, { E: fail }, { E: 'for you', H: true }, {}, {}, {},
    ].map((answer, i) => ({ ...answer, I: `${i}` })));
    assert.deepEqual((await inboxes.error.take(2)).toSorted(), [fail, 'for you']);
    assert.deepEqual(await inboxes.got.take(500), upTo(500));
    assert.deepEqual(await inboxes.gotPerson.next(), [ada, 1, 'two']);
    assert.equal((await shared.eventsOf(id))[0], `connected:${transport}:${user}`);

    await shared.order('group', { group, text: 'a' });
    await shared.order('user', { user, text: 'b' });
    await shared.order('client', { id, text: 'the end' });
    assert.deepEqual(await inboxes.got.take(3), ['a', 'b', 'the end']);
    const { status, output } = await ended;
    assert.equal(status, 0, output);
    assert.equal(inboxes.got.size, 0);
    if (transport === 'serverSentEvents') await shared.logged(id, `disconnected:true:${user}:`); // it closes a WebSocket, and does not say why
  });
}
