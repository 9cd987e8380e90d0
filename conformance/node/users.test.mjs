// Users, who may have several connections.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { againstServer, delivered } from './client.mjs';

againstServer([], ({ connect, newClient, way }) => {
  const connectAs = (t, ...names) => Promise.all(names.map(name => connect(t, '/testhub', { accessTokenFactory: () => name })));

  test('the token says who it is', async t => {
    const [alice, late] = await Promise.all([
      connect(t, '/testhub', { accessTokenFactory: () => 'alice' }),
      connect(t, '/testhub', { accessTokenFactory: async () => 'bob:admin' }),
    ]);
    assert.equal(await alice.invoke('UserId'), 'alice');
    assert.equal(await late.invoke('UserId'), 'bob');
  });

  test('nobody', async t => {
    for (const headers of [{}, { Authorization: 'Basic YTpi' }, { Authorization: 'Bearer ' }]) {
      const client = await connect(t, '/testhub', { headers });
      assert.equal(await client.invoke('UserId'), null);
    }
  });

  test('somebody without a name', async t => {
    const client = await connect(t, '/testhub', { headers: { Authorization: 'Bearer :admin' } });
    assert.equal(await client.invoke('UserId'), '');
  });

  test('a token in the query', async t => {
    const client = await connect(t, '/testhub?ACCESS_TOKEN=alice:admin:more');
    assert.equal(await client.invoke('UserId'), 'alice');
  });

  test('a hub for users alone', async t => {
    const client = await connect(t, '/authorizedhub', { accessTokenFactory: () => 'alice:admin' });
    assert.equal(await client.invoke('UserId'), 'alice');
    assert.equal(await client.invoke('Echo', 'hello'), 'hello');
    // Without negotiation, Node's WebSocket does not tell the client why it is refused.
    await assert.rejects(newClient(t, '/authorizedhub').start(), way.options.skipNegotiation ? /WebSocket failed to connect/ : /Status code '401'/);
  });

  test('ToUser', async t => {
    const clients = await connectAs(t, 'alice', 'alice', 'Alice', 'bob');
    await clients[3].invoke('ToUser', 'alice', 'hello');
    await clients[3].invoke('ToUser', 'nobody', 'hello');
    assert.deepEqual(await delivered(...clients), [['hello'], ['hello'], [], []]);
  });

  test('ToUsers', async t => {
    const clients = await connectAs(t, 'alice', 'bob', 'bob', 'carol');
    await clients[0].invoke('ToUsers', ['alice', 'bob', 'nobody'], 'hello');
    await clients[0].invoke('ToUsers', [], 'nobody');
    assert.deepEqual(await delivered(...clients), [['hello'], ['hello'], ['hello'], []]);
  });

  test('a connection without a user', async t => {
    const [alice] = await connectAs(t, 'alice');
    const anonymous = await connect(t);
    await alice.invoke('ToUser', '', 'hello');
    assert.deepEqual(await delivered(alice, anonymous), [[], []]);
  });
});
