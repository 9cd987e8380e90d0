// One hub with the clients of SignalR 2, of ASP.NET Core SignalR in Node, and of that in Java.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { HttpTransportType } from '@microsoft/signalr';
import { Inbox } from '../inbox.mjs';
import { connect as connectCore, json } from '../node/client.mjs';
import { killAll, run } from '../runner/command.mjs';
import { whyNoJava } from '../runner/java.mjs';
import { Client, serverForAll, upTo } from './client.mjs';

const shared = serverForAll();
const shares = { classic: 20, modern: 60, outside: 40, java: 80 }; // of a round
const rounds = 50, count = Object.values(shares).reduce((sum, share) => sum + share);

async function connectClassic(t) {
  const client = new Client(shared.page, '/signalr', { transport: 'longPolling' });
  client.got = client.on('got');
  await client.start();
  t.after(() => client.stop());
  return client;
}

async function connectModern(t) {
  const client = await connectCore(t, { ...json, options: { transport: HttpTransportType.WebSockets } }, `${shared.url}/classichub`);
  client.got = client.callback('got');
  return client;
}

/** The Java client, which is in the group already. It can take long until it is compiled. */
async function startJava(t, group) {
  const got = new Inbox('message to the Java client'), printed = [];
  let ended;
  const joined = new Promise(done => {
    const onLine = line => {
      const [, what, text] = /^(joined|got) (.*)/.exec(line.replace(/\x1b\[[0-9;]*m/g, '')) ?? [];
      if (what === 'got') got.push(text);
      else if (what) done(text);
      else printed.push(line);
    };
    const env = { ...process.env, TROUPE_URL: shared.url, TROUPE_GROUP: group };
    ended = run('mvn', ['-q', '-B', '-Dtest=GroupMember', 'test'], { cwd: join(import.meta.dirname, '..', 'java'), env, onLine })
      .then(({ status, output }) => ({ status, text: [...printed, output].join('\n') }));
  });
  t.after(killAll);
  const id = await Promise.race([joined, ended.then(({ text }) => { throw new Error(text); })]);
  return { got, id, ended };
}

test(`${rounds * count} messages to a group with three clients, which all get them in one order`, { skip: whyNoJava() }, async t => {
  const classic = await connectClassic(t), modern = await connectModern(t), group = `three ${classic.id}`;
  const java = await startJava(t, group);
  for (const client of [classic, modern]) await client.invoke('Join', group);

  const texts = (name, round) => upTo(shares[name]).map(i => `${name} ${round * shares[name] + i}`);
  const inTurn = async (texts, send) => {
    for (const text of texts) await send(text);
  };
  for (const round of upTo(rounds)) {
    await Promise.all([
      inTurn(texts('classic', round), text => classic.invoke('ToGroup', group, text)),
      inTurn(texts('modern', round), text => modern.send('ToGroup', group, text)),
      inTurn(texts('outside', round), text => shared.order('group', { group, text })),
      shared.order('client', { id: java.id, method: 'send', text: `${shares.java}` }),
    ]);
    // When all have come, the next ones are sent: no client falls behind by more than is kept for it.
    const [one, ...others] = await Promise.all([classic, modern, java].map(({ got }) => got.take(count)));
    for (const other of others) assert.deepEqual(other, one);
    for (const name of Object.keys(shares)) assert.deepEqual(one.filter(text => text.startsWith(name)), texts(name, round));
  }

  await shared.order('group', { group, text: 'the end' });
  for (const { got } of [classic, modern]) assert.deepEqual(await got.upTo('the end'), []);
  const { status, text } = await java.ended;
  assert.equal(status, 0, text);
  assert.equal(java.got.size, 0);
});
