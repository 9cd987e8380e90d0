// Server-Sent Events.
import { topic } from '../case.mjs';
import { fateOf, showTime, showsUntilNot } from './steps.mjs';

const test = topic('sse');
const RS = '\x1e';
const call = (target, args = [], invocationId = '1') => ({ type: 1, invocationId, target, arguments: args });
const handshake = `{"protocol":"json","version":1}${RS}`;
/** The event stream, and its headers; X-Accel-Buffering, which Troupe adds for proxies, is left out. */
async function shown(t, url, headers) {
  const peer = await t.sse(url, { headers, show: true });
  t.transcript = t.transcript.filter(line => !line.startsWith('  x-accel-buffering:'));
  return peer;
}
const negotiated = async (t, path = '/testhub') => `${path}?id=${(await t.negotiate({ path })).token}`;

test('headers and first bytes', 'An event stream that no proxy may keep, with a comment at once', async t => {
  const peer = await shown(t, await negotiated(t));
  await peer.take();
  t.log(JSON.stringify(peer.events));
});
test('framing', 'A record is an event of one line', async t => {
  const peer = await t.sse(await negotiated(t));
  await peer.take();
  for (const message of [handshake, call('Echo', ['a']), call('Echo', ['line\nfeed\r\nand return']), call('Echo', ['data: x']), call('Echo', ['é'])]) {
    await peer.send(message);
    await peer.take();
  }
  await peer.send({ type: 7 });
  await peer.end();
  t.log(JSON.stringify(peer.events));
});
test('large event', 'A record is one event, however long it is', async t => {
  const peer = await t.over('ServerSentEvents');
  await peer.send(call('Echo', ['x'.repeat(30000)]));
  await peer.take();
  t.log(`${peer.events.split('\r\n\r\n').length - 1} events`);
});
test('handshake refused', 'The refusal, then the end of the stream', async t => {
  const peer = await t.sse(await negotiated(t));
  await peer.send({ protocol: 'x', version: 1 });
  await peer.end();
});
test('handshake refused for its version', 'The refusal, then the end of the stream', async t => {
  const peer = await t.sse(await negotiated(t));
  await peer.send({ protocol: 'json', version: 3 });
  await peer.end();
}, { server: 'both' });
test('id of version 0', 'The one id that a negotiation of version 0 gives', async t => {
  const { token } = await t.negotiate({ query: 'negotiateVersion=0' });
  const peer = await t.sse(`/testhub?id=${token}`);
  await peer.handshake(1);
  await peer.sync();
});
test('names and value of the query', 'The key in any case, and other keys beside it', async t => {
  const { token } = await t.negotiate();
  const peer = await t.sse(`/testhub?a=1&ID=${token}&b=2`);
  await peer.handshake(1);
  await peer.sync();
  await peer.call('Query', 'a');
});

for (const [name, accept] of [['in capitals', 'TEXT/EVENT-STREAM'], ['in a list', 'text/html, text/event-stream'], ['in a second line', ['text/html', 'text/event-stream']], ['with a quality', 'text/event-stream;q=0.9'], ['with a parameter', 'text/event-stream; charset=utf-8'], ['of anything', '*/*'], ['of text', 'text/*'], ['empty', '']])
  test(`Accept ${name}`, 'Which requests ask for events; the others poll', async t => {
    const url = await negotiated(t);
    const peer = await shown(t, url, { Accept: accept });
    await peer.take();
  });

test('POST', 'A POST is answered once its body is taken', async t => {
  const url = await negotiated(t);
  const peer = await t.sse(url);
  await peer.take();
  await t.http('POST', url, { body: handshake });
  await peer.take();
  await t.http('POST', url, { body: '' });
  await t.http('POST', url, { body: '{"type":1,"invocationId":"1","tar' });
  await t.http('POST', url, { body: 'get":"Echo","arguments":["x"]}' });
  await t.http('POST', url, { body: RS + '{"type":6}' });
  await peer.take();
  await t.http('POST', url, { body: RS + JSON.stringify(call('Add', [1, 2])) + RS });
  await peer.take();
});
test('POST of several messages', 'All of them are taken', async t => {
  const peer = await t.over('ServerSentEvents', { path: '/bench' });
  await peer.send(...['a', 'b', 'c', 'd'].map((text, i) => call('Echo', [text], `${i}`)));
  await peer.take(4);
});
for (const [name, headers] of [['none', {}], ['text', { 'Content-Type': 'text/plain;charset=UTF-8' }], ['binary', { 'Content-Type': 'application/octet-stream' }], ['JSON', { 'Content-Type': 'application/json' }], ['form', { 'Content-Type': 'application/x-www-form-urlencoded' }], ['broken', { 'Content-Type': ';;' }]])
  test(`POST with content type: ${name}`, 'The content type does not matter', async t => {
    const peer = await t.over('ServerSentEvents');
    await t.http('POST', peer.url, { body: JSON.stringify(call('Echo', ['x'])) + RS, headers });
    await peer.take();
  });
test('POST in chunks', 'A body without a length', async t => {
  const peer = await t.over('ServerSentEvents');
  const record = JSON.stringify(call('Echo', ['x'])) + RS;
  await t.http('POST', peer.url, { body: `5\r\n${record.slice(0, 5)}\r\n${(record.length - 5).toString(16)}\r\n${record.slice(5)}\r\n0\r\n\r\n`, headers: { 'Transfer-Encoding': 'chunked', 'Content-Length': null } });
  await peer.take();
});
test('POST before GET', 'What comes before the stream waits for it', async t => {
  const url = await negotiated(t);
  await t.http('POST', url, { body: handshake });
  await t.http('POST', url, { body: JSON.stringify(call('Echo', ['x'])) + RS });
  const peer = await t.sse(url);
  await peer.take(3);
});
test('POST with a message over the limit', 'The message ends the connection', async t => {
  const peer = await t.over('ServerSentEvents');
  await peer.send(call('Echo', ['x'.repeat(33000)]));
  await peer.end();
}, { server: 'both' });
test('POST of many messages over the limit together', 'The limit is for each message', async t => {
  const peer = await t.over('ServerSentEvents', { path: '/bench' });
  await peer.send(...Array.from({ length: 5 }, (_, i) => call('Echo', [`${i}${'x'.repeat(20000)}`], `${i}`)));
  for (let i = 0; i < 5; i++) t.log((await peer.next()).replace(/x+/, 'x...'));
});
test('POST behind the end', 'The connection is gone', async t => {
  const peer = await t.over('ServerSentEvents');
  await peer.send({ type: 7 });
  await peer.end();
  await showsUntilNot(t, 200, 'POST', peer.url, { body: '' });
  await t.http('GET', peer.url, { headers: { Accept: 'text/event-stream' } });
  await t.http('DELETE', peer.url);
});

test('second GET', 'One stream for a connection: 409, and the first goes on', async t => {
  const peer = await t.over('ServerSentEvents');
  await t.sse(peer.url);
  await peer.sync();
});
test('second GET after a cut', 'A stream that was cut does not come back', async t => {
  const watcher = await t.hub({ name: 'watcher' });
  const peer = await t.over('ServerSentEvents', { name: 'peer' });
  peer.cut();
  t.log(await fateOf(watcher, peer.id));
  await showsUntilNot(t, 409, 'GET', peer.url, { headers: { Accept: 'text/event-stream' } });
  await t.http('POST', peer.url, { body: handshake });
});
test('DELETE', 'Only polls end by DELETE', async t => {
  const peer = await t.over('ServerSentEvents');
  await t.http('DELETE', peer.url);
  await peer.sync();
});
test('ping', 'A stream on which nothing comes has a ping about every 15 seconds', async t => {
  const peer = await t.over('ServerSentEvents');
  peer.showPings = true;
  const start = Date.now();
  await peer.take();
  showTime(t, start, 15);
}, { limit: 22000, tags: ['slow'] });
