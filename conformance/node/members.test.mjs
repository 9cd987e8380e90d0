// What the hub knows of its connections, and does with them by their ids. The original's program does not.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { HubConnectionState } from '@microsoft/signalr';
import { reference } from '../server.mjs';
import { againstServer, canceled, delivered, fateOf, idsOf, until } from './client.mjs';
import { as } from './tokens.mjs';

describe('connections', { skip: reference && 'The original\'s program has no such methods.' }, () => againstServer([], server => {
  const { connect, connectAll, way } = server;
  const group = name => `${name} over ${way.name}`;
  const kicked = { message: 'Server returned an error on close: kicked' };

  test('a kick closes the connection with its reason, and the client does not reconnect', async t => {
    const [client, other] = [await connect(t, '/testhub', { retryDelay: 10 }), await connect(t)];
    const [id] = await idsOf(client);
    await client.invoke('ToCaller', 'before');
    await other.invoke('Kick', id);
    assert.equal((await client.closes.next()).message, kicked.message);
    assert.equal(client.connection.state, HubConnectionState.Disconnected);
    assert.equal(client.reconnecting.size, 0);
    assert.equal(await client.messages.next(), 'before');
    assert.equal(await fateOf(id, other), 'error: kicked');
    assert.equal(await other.invoke('Echo', 'goes on'), 'goes on');
    await other.invoke('Kick', id); // who has gone is no error
  });

  test('a kick ends a call that the client waits for', async t => {
    const [client, other] = await connectAll(t, 2);
    const [id] = await idsOf(client);
    const pending = assert.rejects(client.invoke('Slow', 600_000), error => [kicked.message, canceled.message].includes(error.message));
    await client.invoke('Echo', 'the call before is on its way');
    await other.invoke('Kick', id);
    await pending;
    assert.equal((await client.closes.next()).message, kicked.message);
  });

  test('who kicks itself gets no answer', async t => {
    const client = await connect(t, '/testhub', { retryDelay: 10 });
    const [id] = await idsOf(client);
    await assert.rejects(client.invoke('Kick', id), error => [kicked.message, canceled.message].includes(error.message));
    assert.equal((await client.closes.next()).message, kicked.message);
    assert.equal(client.reconnecting.size, 0);
  });

  test('a kicked client may connect again', async t => {
    const [client, other] = await connectAll(t, 2);
    const [id] = await idsOf(client);
    await other.invoke('Kick', id);
    await client.closes.next();
    await client.start();
    assert.notEqual(await client.invoke('Id'), id);
  });

  test('others are put into groups, and out of them', async t => {
    const clients = await connectAll(t, 3), [first, second, third] = await idsOf(...clients), name = group('others');
    assert.deepEqual(await clients[0].invoke('Members', name), []);
    for (const id of [second, third, second, 'nobody']) await clients[0].invoke('AddTo', id, name);
    assert.deepEqual(await clients[0].invoke('Members', name), [second, third].sort());
    await clients[0].invoke('ToGroup', name, 'both');
    await clients[0].invoke('RemoveFrom', second, name);
    await clients[0].invoke('RemoveFrom', first, name);
    assert.deepEqual(await clients[0].invoke('Members', name), [third]);
    await clients[0].invoke('ToGroup', name, 'one');
    assert.deepEqual(await delivered(...clients), [[], ['both'], ['both', 'one']]);
  });

  test('who leaves is no member any more', async t => {
    const [client, other] = await connectAll(t, 2), [id] = await idsOf(client), name = group('who leaves');
    await client.invoke('Join', name);
    assert.deepEqual(await other.invoke('Members', name), [id]);
    await client.stop();
    await until(async () => !(await other.invoke('Members', name)).length, 'an empty group');
  });

  test('a user is online while there is a connection', async t => {
    const user = group('alice'), witness = await connect(t);
    assert.equal(await witness.invoke('Online', user), false);
    const [first, second] = await Promise.all([1, 2].map(() => connect(t, '/testhub', as(user))));
    assert.equal(await witness.invoke('Online', user), true);
    const [id] = await idsOf(first);
    await first.stop();
    await fateOf(id, witness);
    assert.equal(await witness.invoke('Online', user), true);
    await second.stop();
    await until(async () => !(await witness.invoke('Online', user)), 'nobody online');
  });

  test('the node has one name', async t => {
    const [client, other] = await connectAll(t, 2);
    const name = await client.invoke('Node');
    assert.match(name, /./);
    assert.equal(await other.invoke('Node'), name);
  });
}));
