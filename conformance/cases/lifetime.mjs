// How connections end, over each transport.
import { topic } from '../case.mjs';
import { fateOf, showTime } from './steps.mjs';

const test = topic('lifetime');
const RS = '\x1e';
const call = (target, args = [], more = {}) => ({ type: 1, invocationId: '1', target, arguments: args, ...more });
const both = { server: 'both' };
const transports = ['WebSockets', 'ServerSentEvents', 'LongPolling'];

/** Whether the hub has been told of an error. */
const fate = async (t, watcher, id) => t.log(`the hub was told: ${await fateOf(watcher, id)}`);
/** Opens a connection, does something to it, and takes what comes of it up to its end and its fate. */
const ending = (transport, act) => async t => {
  const watcher = await t.hub({ name: 'watcher' });
  const peer = await t.over(transport);
  await act(peer, t);
  await peer.end();
  await fate(t, watcher, peer.id);
};

for (const transport of transports) {
  const over = (name, why, act, options) => test(`${name} over ${transport}`, why, ending(transport, act), options);
  over('Close', 'The server answers with a Close, and ends', peer => peer.send({ type: 7 }));
  over('Close with an error', 'The error is for the hub; the answer has none', peer => peer.send({ type: 7, error: 'gone' }), both);
  over('Close with an empty error', 'An empty error is one', peer => peer.send({ type: 7, error: '' }));
  over('Close with null for an error', 'Null is no text', peer => peer.send({ type: 7, error: null }));
  over('Close with allowReconnect', 'A client has nothing to allow', peer => peer.send({ type: 7, allowReconnect: true }));
  over('Close with messages behind', 'Nothing behind a Close is looked at', peer => peer.send({ type: 7 }, call('Echo', ['x']), '{"type":1}' + RS));
  over('abort', 'A Close without an error, and no answer to the call', peer => peer.send(call('Abort')));
  over('abort with messages behind', 'Nothing behind it is answered', peer => peer.send(call('Abort', [], { invocationId: undefined }), { type: 6 }));
  over('message over the limit', 'A Close with an error that allows to come back', peer => peer.send(call('Echo', ['x'.repeat(33000)])), both);
  over('fatal message', 'A Close with an error that allows to come back', peer => peer.send('{"type":5}' + RS), both);
  over('Close while a call runs', 'The end does not wait for the call', peer => peer.send(call('Slow', [3000]), { type: 7 }));
  over('Close while a stream runs', 'The end does not wait for the stream', async peer => {
    await peer.send({ type: 4, invocationId: '1', target: 'Counter', arguments: [2, 60000] });
    await peer.take();
    await peer.send({ type: 7 });
  });
  over('Close while an upload runs', 'The end does not wait for the upload', async peer => {
    await peer.send({ type: 1, invocationId: '1', target: 'UploadStream', arguments: [], streamIds: ['s'] }, { type: 2, invocationId: 's', item: 'a' });
    await peer.sync();
    await peer.send({ type: 7 });
  });
  over('Close while the server asks', 'The end does not wait for the answer', async peer => {
    await peer.send(call('AskCaller', ['?']));
    await peer.takeAsked();
    await peer.send({ type: 7 });
  });
  over('fatal message while a call runs', 'The end does not wait for the call', peer => peer.send(call('Slow', [3000]), '{"type":5}' + RS));
  over('fatal message while the server asks', 'The end does not wait for the answer', async peer => {
    await peer.send(call('AskCaller', ['?']));
    await peer.takeAsked();
    await peer.send('{"type":5}' + RS);
  });
  over('abort while a call runs', 'The end does not wait for the call', peer => peer.send(call('Slow', [3000]), call('Abort', [], { invocationId: '2' })));
  for (const [name, path, query] of [['OnConnected fails', '/testhub', 'fail=1'], ['hub that cannot be created', '/uncreatable', '']]) test(`${name} over ${transport}`, 'The handshake succeeds, then a Close with an error', async t => {
    const peer = await t.over(transport, { path, query });
    const line = await peer.next();
    t.log(path === '/uncreatable' ? line.replace(/(?<=with an error\. ).*?(?=")/, '<the reason>') : line);
    await peer.end();
  }, both);
}
test('OnConnected fails, message behind the handshake', 'The message is not looked at', async t => {
  const peer = await t.webSocket('/testhub?fail=1');
  peer.send({ protocol: 'json', version: 1 }, call('Echo', ['x']));
  await peer.end();
});

for (const [name, text] of [['', ''], [' with a half message', '{"type":1,"tar'], [' with a message without its end', '{"type":6}']]) {
  test(`close frame${name}`, 'The answer is a close frame, without a Close', async t => {
    const watcher = await t.hub({ name: 'watcher' });
    const peer = await t.hub({ negotiate: 'negotiateVersion=1' });
    if (text) peer.send(text);
    peer.close();
    await peer.end();
    await fate(t, watcher, peer.id);
  });
  test(`event stream cut${name}`, 'What the hub is told', async t => {
    const watcher = await t.hub({ name: 'watcher' });
    const peer = await t.over('ServerSentEvents');
    if (text) await peer.send(text);
    peer.cut();
    await fate(t, watcher, peer.id);
  });
}
test('DELETE', 'What the hub is told', async t => {
  const watcher = await t.hub({ name: 'watcher' });
  const peer = await t.over('LongPolling');
  await t.http('DELETE', peer.url, { quiet: true });
  await fate(t, watcher, peer.id);
});
test('WebSocket cut', 'What the hub is told', async t => {
  const watcher = await t.hub({ name: 'watcher' });
  const peer = await t.hub({ negotiate: 'negotiateVersion=1' });
  peer.cut();
  await fate(t, watcher, peer.id);
});
test('half a handshake and a close frame', 'There is no answer', async t => {
  const peer = await t.webSocket('/testhub');
  peer.send('{"protocol":"json"');
  peer.close();
  await peer.end();
});
test('close frame before the handshake', 'There is no answer', async t => {
  const peer = await t.webSocket('/testhub');
  peer.close();
  await peer.end();
});
test('Close before the handshake', 'It is no handshake', async t => {
  const peer = await t.webSocket('/testhub');
  peer.send({ type: 7 });
  await peer.end();
});
for (const [name, code, reason] of [['1001', 1001, ''], ['3000', 3000, ''], ['4999', 4999, ''], ['1000 and a reason', 1000, 'bye'], ['1011', 1011, 'e']]) test(`close code ${name}`, 'Every allowed code is answered with 1000', async t => {
  const peer = await t.hub();
  peer.close(code, reason);
  await peer.end();
});
for (const code of [0, 999, 1005, 1006, 1015, 2999, 5000]) test(`close code ${code}`, 'A code that is not allowed', async t => {
  const peer = await t.hub();
  peer.close(code);
  await peer.end();
}, { tags: ['broken-frames'] });
test('close frame without a code', 'It is answered', async t => {
  const peer = await t.hub();
  peer.answerClose = false;
  peer.frame('', { opcode: 'close' });
  await peer.end();
});
test('ping frame', 'It is answered with a pong of the same payload', async t => {
  const peer = await t.hub();
  peer.frame('payload', { opcode: 'ping' });
  await peer.take();
  await peer.sync();
});
test('handshake never sent over ServerSentEvents', 'After 15 seconds the server gives up', async t => {
  const peer = await t.sse(`/testhub?id=${(await t.negotiate()).token}`);
  const start = Date.now();
  await peer.end();
  showTime(t, start, 15);
}, { limit: 22000, tags: ['slow'] });
test('handshake never sent over LongPolling', 'After 15 seconds the server gives up', async t => {
  const url = `/testhub?id=${(await t.negotiate()).token}`;
  await t.http('GET', url);
  const start = Date.now();
  await t.http('GET', url);
  showTime(t, start, 15);
  await t.http('GET', url);
}, { limit: 22000, tags: ['slow'] });
test('ping over WebSockets', 'Where nothing comes there is a ping about every 15 seconds', async t => {
  const peer = await t.hub();
  peer.showPings = true;
  const start = Date.now();
  await peer.take();
  showTime(t, start, 15);
}, { limit: 22000, tags: ['slow'] });
test('negotiated and never used', 'After 15 seconds the connection is gone', async t => {
  const { token } = await t.negotiate();
  const peer = await t.hub();
  await t.pause(17500);
  await t.webSocket(`/testhub?id=${token}`);
  await t.http('GET', `/testhub?id=${token}`);
  await peer.sync();
}, { limit: 24000, tags: ['slow'] });
