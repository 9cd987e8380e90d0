// Long polling.
import { topic } from '../case.mjs';
import { showTime, showsUntilNot } from './steps.mjs';

const test = topic('polling');
const RS = '\x1e';
const call = (target, args = [], invocationId = '1') => ({ type: 1, invocationId, target, arguments: args });
const text = (...messages) => messages.map(message => JSON.stringify(message) + RS).join('');
const handshake = text({ protocol: 'json', version: 1 });
const framing = { framing: true };
const negotiated = async (t, path = '/testhub') => `${path}?id=${(await t.negotiate({ path })).token}`;
const quiet = { quiet: true };

/** A connection behind its handshake, that nobody polls. */
async function shaken(t, path) {
  const url = await negotiated(t, path);
  await t.http('GET', url, quiet);
  await t.http('POST', url, { body: handshake, quiet: true });
  const { body } = await t.http('GET', url, quiet);
  if (body !== `{}${RS}`) t.log(`the handshake was answered with ${body}`);
  return url;
}
/** Another connection, and a call that tells it something: it comes behind everything before it, for calls on /bench run one by one. */
async function witness(t) {
  const peer = await t.hub({ path: '/bench', negotiate: 'negotiateVersion=1', name: 'witness' });
  return { peer, told: { type: 1, target: 'SendTo', arguments: [peer.id, 0, 'done'] } };
}
/** Polls until the polls end; what came, and how they ended. */
async function drained(t, url) {
  let came = '';
  for (;;) {
    const { status, headers, body } = await t.http('GET', url, quiet);
    if (status !== 200 || Date.now() > t.until) {
      for (const line of came.split(/(?<=\x1e)/)) if (line) t.log(line);
      return t.showAnswer('GET', url, { status, headers }, body, framing);
    }
    came += body;
  }
}
const show = (t, url, { status, headers, body }) => t.showAnswer('GET', url, { status, headers }, body, framing);

test('first poll', 'It is answered at once, with nothing', async t => {
  const url = await negotiated(t);
  await t.http('GET', url, framing);
});
test('first poll with data waiting', 'It carries nothing even then', async t => {
  const url = await negotiated(t);
  await t.http('POST', url, { body: handshake });
  await t.http('GET', url, framing);
  await t.http('GET', url, framing);
});
test('handshake and calls', 'Each poll has what is there, with its length', async t => {
  const url = await negotiated(t);
  await t.http('GET', url, quiet);
  await t.http('POST', url, { body: handshake });
  await t.http('GET', url, framing);
  await t.http('POST', url, { body: text(call('Echo', ['x'])) });
  await t.http('GET', url, framing);
  await t.http('POST', url, { body: text(call('Echo', ['é'])) });
  await t.http('GET', url, framing);
});
test('several messages in one body', 'A poll has everything that is there', async t => {
  const { peer, told } = await witness(t);
  const url = await shaken(t, '/bench');
  await t.http('POST', url, { body: text(call('Echo', ['a']), call('Echo', ['b'], '2'), call('Echo', ['c'], '3'), told), quiet: true });
  await peer.take();
  await t.http('GET', url, framing);
});
test('large body', 'A poll may be longer than any message from a client', async t => {
  const { peer, told } = await witness(t);
  const url = await shaken(t, '/bench');
  await t.http('POST', url, { body: text(...['1', '2', '3'].map(id => call('Echo', ['x'.repeat(16000)], id)), told), quiet: true });
  await peer.take();
  const { headers, body } = await t.http('GET', url, quiet);
  t.log(`${headers['content-length']}, ${body.split(RS).length - 1} messages`);
});
test('message beside a waiting poll', 'A poll that waits is answered with what comes', async t => {
  const url = await shaken(t, '/testhub');
  const waiting = t.http('GET', url, quiet);
  await t.http('POST', url, { body: text(call('Echo', ['x'])) });
  show(t, url, await waiting);
});
test('cache buster', 'Unknown keys of the query are ignored', async t => {
  const url = await negotiated(t);
  await t.http('GET', `${url}&_=123`, framing);
  await t.http('POST', `${url}&x`, { body: handshake });
  await t.http('GET', `${url}&_=124`, framing);
});
test('query of the first poll', 'What the hub sees stays that of the first poll', async t => {
  const url = await negotiated(t);
  await t.http('GET', `${url}&a=first`, quiet);
  await t.http('POST', `${url}&a=post`, { body: handshake + text(call('Query', ['a'])), quiet: true });
  let came = '';
  while (!came.includes('"type":3')) came += (await t.http('GET', `${url}&a=later`, quiet)).body;
  t.log(came);
});
test('headers of the first poll', 'What the hub sees stays that of the first poll', async t => {
  const url = await negotiated(t);
  await t.http('GET', url, { headers: { Cookie: 'a=first', 'Content-Type': 'text/x' }, quiet: true });
  await t.http('POST', url, { body: handshake + text(call('GetCookie', ['a'])), headers: { Cookie: 'a=post' }, quiet: true });
  let came = '';
  while (!came.includes('"type":3')) came += (await t.http('GET', url, { headers: { Cookie: 'a=later' }, quiet: true })).body;
  t.log(came);
});
test('with an Accept of JSON', 'Any Accept but that of events is a poll', async t => {
  const url = await negotiated(t);
  await t.http('GET', url, { headers: { Accept: 'application/json' }, framing: true });
});
test('with a body', 'The body of a poll does not matter', async t => {
  const url = await negotiated(t);
  await t.http('GET', url, { body: handshake, framing: true });
  await t.http('POST', url, { body: handshake });
  await t.http('GET', url, framing);
});
test('id of version 0', 'The one id that a negotiation of version 0 gives', async t => {
  const { token } = await t.negotiate({ query: 'negotiateVersion=0' });
  await t.http('GET', `/testhub?id=${token}`, framing);
});

test('second poll', 'A second poll takes the place of the first, which ends with 204', async t => {
  const url = await shaken(t, '/testhub');
  // Which of the two comes first nobody knows.
  const polls = [1, 2].map(i => t.http('GET', url, quiet).then(answer => ({ i, ...answer })));
  const first = await Promise.race(polls);
  show(t, url, first);
  await t.http('POST', url, { body: text(call('Echo', ['x'])) });
  show(t, url, await polls[2 - first.i]);
  await t.http('POST', url, { body: text(call('Echo', ['y'])) });
  await t.http('GET', url, framing);
});

test('POST', 'A POST is answered once its body is taken', async t => {
  const url = await negotiated(t);
  await t.http('GET', url, quiet);
  for (const body of [handshake.slice(0, 10), '', handshake.slice(10, -1), RS + '{"type":6}' + RS + text(call('Echo', ['x'])).slice(0, 30)]) await t.http('POST', url, { body });
  await t.http('GET', url, framing);
  await t.http('POST', url, { body: text(call('Echo', ['x'])).slice(30) });
  await t.http('GET', url, framing);
});
test('POST before the first poll, in halves', 'What comes before the first poll waits for it', async t => {
  const url = await negotiated(t);
  await t.http('POST', url, { body: handshake.slice(0, 10) });
  await t.http('POST', url, { body: handshake.slice(10) });
  await t.http('GET', url, framing);
  await t.http('GET', url, framing);
});
test('POST of 100 messages over the buffers', 'A body may be longer than what the server keeps', async t => {
  const peer = await t.over('LongPolling', { path: '/bench' });
  const { status } = await t.http('POST', peer.url, { body: text(...Array.from({ length: 100 }, (_, i) => call('Echo', [`${i} ${'x'.repeat(1000)}`], `${i}`))), quiet: true });
  t.log(status === 200 ? 'taken' : `${status}`);
  for (let i = 0; i < 100; i++) {
    const line = await peer.next();
    if (!line.startsWith(`{"type":3,"invocationId":"${i}","result":"${i} x`)) t.log(line);
  }
  await peer.sync();
});
test('POST with a message over the limit', 'The message ends the connection', async t => {
  const peer = await t.over('LongPolling');
  await peer.send(call('Echo', ['x'.repeat(33000)]));
  await peer.end();
}, { server: 'both' });
test('POST with an unknown id', 'There is no such connection', t => t.http('POST', '/testhub?id=nobody', { body: handshake }));
test('two POSTs at once', 'Both are taken', async t => {
  const peer = await t.over('LongPolling');
  await Promise.all([peer.send(call('Echo', ['a'], 'a')), peer.send(call('Echo', ['b'], 'b'))]);
  await peer.takeSorted(2);
});

test('Close by the client', 'The answer with a poll, then 204, then 404', async t => {
  const url = await shaken(t, '/testhub');
  await t.http('POST', url, { body: text({ type: 7 }) });
  await drained(t, url);
  await showsUntilNot(t, 204, 'GET', url);
  await showsUntilNot(t, 200, 'POST', url, { body: '' });
  await showsUntilNot(t, 202, 'DELETE', url);
});
test('Close with data before', 'Data first, then 204, then 404', async t => {
  const { peer, told } = await witness(t);
  const url = await shaken(t, '/bench');
  await t.http('POST', url, { body: text(call('Echo', ['a']), call('Echo', ['b'], '2'), told), quiet: true });
  await peer.take();
  await t.http('POST', url, { body: text({ type: 7 }) });
  await drained(t, url);
  await showsUntilNot(t, 204, 'GET', url);
});
test('Close while a poll waits', 'The poll that waits has the Close', async t => {
  const url = await shaken(t, '/testhub');
  const waiting = t.http('GET', url, quiet);
  await t.http('POST', url, { body: text({ type: 7 }) });
  show(t, url, await waiting);
  await t.http('GET', url, framing);
});
test('abort while a poll waits', 'The poll that waits has the Close', async t => {
  const url = await shaken(t, '/testhub');
  const waiting = t.http('GET', url, quiet);
  await t.http('POST', url, { body: text(call('Abort')) });
  show(t, url, await waiting);
  await drained(t, url);
});

/** A poll that waits for certain: of two that meet, one is sent away when the other has come. */
async function waiting(t, url) {
  const polls = [1, 2].map(i => t.http('GET', url, quiet).then(answer => ({ i, ...answer })));
  const first = await Promise.race(polls);
  if (first.status !== 204) show(t, url, first);
  return { poll: polls[2 - first.i] };
}
test('DELETE while a poll waits', 'The poll ends at once, with a Close or without, and the connection is gone', async t => {
  const url = await shaken(t, '/testhub');
  const { poll } = await waiting(t, url);
  await t.http('DELETE', url, framing);
  const { status, body } = await poll;
  t.log(status === 204 || (status === 200 && body === `{"type":7,"allowReconnect":true}${RS}`) ? 'the poll has ended' : `the poll has ended with ${status} ${body}`);
  await showsUntilNot(t, 204, 'GET', url);
});
test('DELETE between polls', 'The connection is gone', async t => {
  const url = await shaken(t, '/testhub');
  await t.http('DELETE', url, framing);
  await showsUntilNot(t, 204, 'GET', url);
  await showsUntilNot(t, 200, 'POST', url, { body: '' });
});
test('DELETE before the handshake', 'It ends what has been polled once', async t => {
  const url = await negotiated(t);
  await t.http('GET', url, quiet);
  await t.http('DELETE', url, framing);
  await showsUntilNot(t, 204, 'GET', url);
});
test('DELETE before the first poll', 'What has no transport cannot be ended so', async t => {
  const url = await negotiated(t);
  await t.http('DELETE', url);
  await t.http('GET', url, framing);
});
test('DELETE with data waiting', 'The connection is gone', async t => {
  const { peer, told } = await witness(t);
  const url = await shaken(t, '/bench');
  await t.http('POST', url, { body: text(call('Echo', ['a']), told), quiet: true });
  await peer.take();
  await t.http('DELETE', url, framing);
  await showsUntilNot(t, 200, 'POST', url, { body: '' });
});
test('DELETE until it is gone', 'Once more than needed', async t => {
  const url = await shaken(t, '/testhub');
  await t.http('DELETE', url);
  await showsUntilNot(t, 202, 'DELETE', url);
});

test('between polls for long', 'After 15 seconds without a poll the connection is gone', async t => {
  const url = await shaken(t, '/testhub');
  const start = Date.now();
  await showsUntilNot(t, 200, 'POST', url, { body: text({ type: 6 }) });
  showTime(t, start, 15);
  await t.http('GET', url);
}, { limit: 22000, tags: ['slow'] });
test('never polled', 'After 15 seconds what has been negotiated is gone', async t => {
  const url = await negotiated(t);
  const start = Date.now();
  await showsUntilNot(t, 200, 'POST', url, { body: '' });
  showTime(t, start, 15);
}, { limit: 22000, tags: ['slow'] });
test('no pings', 'A poll waits longer than another transport is silent', async t => {
  const peer = await t.over('LongPolling');
  peer.showPings = true;
  await t.pause(18000);
  await peer.sync();
}, { limit: 24000, tags: ['slow'] });
