// What the requests of all transports have in common: ids, methods, masks, and what does not go together.
import { topic } from '../case.mjs';
import { fateOf, showsUntilNot } from './steps.mjs';

const test = topic('transports');
const RS = '\x1e';
const handshake = `{"protocol":"json","version":1}${RS}`;

const requests = [
  ['poll', (t, path) => t.http('GET', path)], ['event stream', (t, path) => t.sse(path, { show: true })], ['POST', (t, path) => t.http('POST', path, { body: handshake })], ['DELETE', (t, path) => t.http('DELETE', path)],
];
const socket = ['WebSocket', async (t, path) => {
  const peer = await t.webSocket(path, { show: true });
  if (!peer) return;
  await peer.handshake(1);
  await peer.sync();
}];
for (const [name, request] of requests) {
  test(`${name} without id`, 'Connection ID required', t => request(t, '/testhub'));
  test(`${name} with an empty id`, 'Connection ID required', t => request(t, '/testhub?id='));
}
for (const [name, request] of [...requests, socket]) {
  test(`${name} with an unknown id`, 'No such connection', t => request(t, '/testhub?id=AAAAAAAAAAAAAAAAAAAAAA'));
  test(`${name} with a strange id`, 'No such connection', t => request(t, '/testhub?id=%00%F0%9F%98%80%20"'));
  test(`${name} with the public id`, 'The token alone finds the connection', async t => request(t, `/testhub?id=${(await t.negotiate()).id}`));
  test(`${name} with the id twice`, 'Two ids are no id', async t => {
    const { token } = await t.negotiate();
    await request(t, `/testhub?id=${token}&id=${token}`);
  });
  test(`${name} with the token of another hub`, 'A token is for the hub that gave it', async t => request(t, `/bench?id=${(await t.negotiate()).token}`), { tags: ['defect'] });
}
test('WebSocket with an empty id', 'A WebSocket needs no negotiation', t => socket[1](t, '/testhub?id='));
test('WebSocket with the key of the id in capitals', 'Keys of the query in any case', async t => socket[1](t, `/testhub?x=1&ID=${(await t.negotiate()).token}`));
for (const [name, path] of [['a slash behind', '/testhub/'], ['another case', '/TESTHUB'], ['percent-encoding', '/test%68ub']]) {
  test(`path with ${name}`, 'Which paths reach the endpoint', t => t.http('GET', path));
  test(`WebSocket at a path with ${name}`, 'Which paths reach the endpoint', t => socket[1](t, path));
}
for (const [name, path] of [['something behind', '/testhub/x'], ['another name', '/testhubs'], ['nothing', '/']]) test(`path with ${name}`, 'Which paths do not reach the endpoint', t => t.http('GET', path), { tags: ['app'] });

for (const method of ['PUT', 'PATCH', 'HEAD', 'OPTIONS', 'TRACE', 'X']) {
  const tags = method === 'OPTIONS' ? ['app'] : [];
  test(`method ${method}`, 'GET, POST and DELETE alone', t => t.http(method, '/testhub'), { tags });
  test(`method ${method} with an id`, 'GET, POST and DELETE alone', async t => {
    const { token } = await t.negotiate();
    await t.http(method, `/testhub?id=${token}`);
    await t.http('GET', `/testhub?id=${token}`);
  }, { tags });
  test(`method ${method} with an unknown id`, 'The method is looked at first', t => t.http(method, '/testhub?id=nobody'), { tags });
}
for (const method of ['post', 'delete', 'get']) test(`method ${method} in lower case`, 'Methods in any case', t => t.http(method, '/testhub'));
test('method of a WebSocket', 'A WebSocket is a GET', t => t.webSocket('/testhub', { method: 'POST' }));

test('POST to a WebSocket', 'What has a way of its own takes no POST', async t => {
  const peer = await t.hub({ negotiate: 'negotiateVersion=1' });
  await t.http('POST', `/testhub?id=${peer.token}`, { body: '{"type":6}' + RS });
  await peer.sync();
});
test('POST before a WebSocket', 'What comes before the transport is chosen waits for it', async t => {
  const { token } = await t.negotiate();
  await t.http('POST', `/testhub?id=${token}`, { body: handshake });
  const peer = await t.webSocket(`/testhub?id=${token}`);
  await peer.take();
  await peer.sync();
});
for (const transport of ['WebSockets', 'ServerSentEvents', 'LongPolling']) for (const [name, request] of [...requests.filter(([name]) => name !== 'POST'), socket])
  if (!(transport === 'LongPolling' && (name === 'poll' || name === 'DELETE'))) test(`${name} on a connection over ${transport}`, 'A connection keeps its transport, and goes on', async t => {
    const peer = await t.over(transport);
    await request(t, `/testhub?id=${peer.token}`);
    await peer.sync();
  });
test('second WebSocket after the first', 'What has ended does not come back', async t => {
  const peer = await t.hub({ negotiate: 'negotiateVersion=1' });
  const watcher = await t.hub({ name: 'watcher' });
  peer.send({ type: 7 });
  await peer.end();
  t.log(await fateOf(watcher, peer.id));
  const url = `/testhub?id=${peer.token}`;
  await showsUntilNot(t, 405, 'POST', url, { body: '' });
  await t.webSocket(url);
  await t.http('GET', url);
});

const masked = '/testhub-nowebsockets';
for (const transport of ['ServerSentEvents', 'LongPolling']) test(`round trip over ${transport} where there are no WebSockets`, 'The transports that are left', async t => {
  const peer = await t.over(transport, { path: masked });
  await peer.call('GetActiveTransportName');
  await peer.call('Echo', 'x');
});
test('WebSocket where there are none', 'The endpoint says so', t => t.webSocket(masked));
test('WebSocket where there are none, negotiated', 'The endpoint says so, and the connection may use another transport', async t => {
  const { token } = await t.negotiate({ path: masked });
  await t.webSocket(`${masked}?id=${token}`);
  await t.http('GET', `${masked}?id=${token}`);
});
test('WebSocket where there are none, unknown id', 'Which of the two is said', t => t.webSocket(`${masked}?id=nobody`));

const alice = { Authorization: 'Bearer alice' }, bob = { Authorization: 'Bearer bob' };
for (const [name, headers] of [['another user', bob], ['nobody', {}]]) {
  for (const [of, request] of [
    ['poll', (t, url) => t.http('GET', url, { headers })], ['event stream', (t, url) => t.sse(url, { headers, show: true })],
    ['WebSocket', (t, url) => t.webSocket(url, { headers, show: true })], ['POST', (t, url) => t.http('POST', url, { headers, body: handshake })],
  ]) test(`${of} by ${name}, negotiated by a user`, 'A connection belongs to its user', async t => {
    const { token } = await t.negotiate({ headers: alice });
    await request(t, `/testhub?id=${token}`);
  }, { tags: ['user-change'] });
  for (const [method, body] of [['GET'], ['POST', '{"type":6}' + RS], ['DELETE']]) test(`${method} by ${name}, polled by a user`, 'A connection belongs to its user', async t => {
    const { token } = await t.negotiate({ headers: alice });
    const url = `/testhub?id=${token}`;
    await t.http('GET', url, { headers: alice, quiet: true });
    await t.http('POST', url, { headers: alice, body: handshake, quiet: true });
    await t.http(method, url, { headers, body });
  }, { tags: ['user-change'] });
}
for (const transport of ['WebSockets', 'ServerSentEvents', 'LongPolling']) test(`user over ${transport}`, 'The same user all along', async t => {
  const peer = await t.over(transport, { headers: alice });
  await peer.call('UserId');
});
test('user by the query', 'A token in the query is as good as one in a header', async t => {
  const { token } = await t.negotiate({ headers: alice });
  const peer = await t.sse(`/testhub?id=${token}&access_token=alice`);
  await peer.handshake(1);
  await peer.call('UserId');
});
