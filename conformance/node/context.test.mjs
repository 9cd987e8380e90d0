// What the hub knows of a connection.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { JsonHubProtocol } from '@microsoft/signalr';
import { againstServer } from './client.mjs';

againstServer([], ({ connect, connectAll, newClient, way }) => {
  test('ids', async t => {
    const clients = await connectAll(t, 3);
    const ids = await Promise.all(clients.map(client => client.invoke('Id')));
    assert.equal(new Set(ids).size, 3);
    assert.deepEqual(clients.map(client => client.connection.connectionId), way.options.skipNegotiation ? [null, null, null] : ids);
    assert.equal(await clients[0].invoke('Id'), ids[0]);
  });

  test('the query', async t => {
    const client = await connect(t, '/testhub?Key=a%20value&two=1&two=2&letters=%C3%A9%F0%9F%98%80%26&plus=a+b');
    assert.equal(await client.invoke('Query', 'key'), 'a value');
    assert.equal(await client.invoke('Query', 'two'), '1,2');
    assert.equal(await client.invoke('Query', 'letters'), 'é😀&');
    assert.equal(await client.invoke('Query', 'plus'), 'a b');
    assert.equal(await client.invoke('Query', 'none'), null);
  });

  test('a key of the query that is there, and empty', async t => {
    const client = await connect(t, '/testhub?empty=&bare&Some=1&some=&none=&none=');
    for (const [key, value] of [['empty', ''], ['EMPTY', ''], ['bare', ''], ['some', '1'], ['none', ''], ['', null]]) {
      assert.equal(await client.invoke('Query', key), value, key);
    }
  });

  test('headers', async t => {
    const client = await connect(t, '/testhub', { headers: { 'Content-Type': 'text/x-test', Cookie: 'one=1; two=2' } });
    assert.equal(await client.invoke('GetContentTypeHeader'), 'text/x-test');
    assert.equal(await client.invoke('GetCookie', 'two'), '2');
    assert.equal(await client.invoke('GetCookie', 'three'), null);
  });

  test('a header that is there, and empty', async t => {
    const client = await connect(t, '/testhub', { headers: { 'Content-Type': '' } });
    const unsent = way.transport === 'ServerSentEvents'; // by the event source in Node, if it is empty
    assert.equal(await client.invoke('GetContentTypeHeader'), unsent ? null : '');
  });

  test('cookies as the client sends them', async t => {
    const client = await connect(t, '/testhub', { headers: { Cookie: 'one=a%20b; Two="q"; empty=; twice=1; twice=2; equals=a=b; bad=%zz' } });
    for (const [name, value] of [['one', 'a b'], ['ONE', 'a b'], ['two', '"q"'], ['empty', null], ['twice', '2'], ['equals', 'a=b'], ['bad', '%zz']]) {
      assert.equal(await client.invoke('GetCookie', name), value, name);
    }
  });

  test('cookies that negotiation sets', async t => {
    const client = await connect(t);
    const set = way.options.skipNegotiation ? [null, null] : ['testValue', 'testValue2'];
    assert.deepEqual([await client.invoke('GetCookie', 'testCookie'), await client.invoke('GetCookie', 'testCookie2')], set);
    assert.equal(await client.invoke('GetCookie', 'expiredCookie'), null);
  });

  test('no headers', async t => {
    const client = await connect(t);
    assert.equal(await client.invoke('GetContentTypeHeader'), null);
    assert.equal(await client.invoke('GetCookie', 'two'), null);
  });

  test('items live as long as their connection', async t => {
    const [first, second] = await connectAll(t, 2);
    for (const n of [1, 2, 3]) assert.equal(await first.invoke('Count'), n);
    assert.equal(await second.invoke('Count'), 1);
    await first.stop();
    await first.start();
    assert.equal(await first.invoke('Count'), 1);
  });

  test('a protocol that the server does not know', async t => {
    const protocol = Object.assign(new JsonHubProtocol(), { name: 'other' });
    const client = newClient(t, '/testhub', { protocol });
    listenInTime(client.connection);
    await assert.rejects(client.start(), { message: `Server returned handshake error: The protocol 'other' is not supported.` });
  });
});

/**
 * Holds the error of a handshake back until the client listens for it: it does so when its request has been answered, which an event
 * stream can overtake. Node takes the error for one that nobody handles.
 */
function listenInTime(connection) {
  const send = connection._sendMessage;
  let sent, reject;
  connection._sendMessage = message => (sent = send.call(connection, message));
  Object.defineProperty(connection, '_handshakeRejecter', {
    get: () => error => sent.then(() => reject(error)),
    set: rejecter => { reject = rejecter; },
  });
}
