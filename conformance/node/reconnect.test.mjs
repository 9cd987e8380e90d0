// The server dies, and comes back at the same address.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HubConnectionState } from '@microsoft/signalr';
import { startServer } from '../server.mjs';
import { connect, cutOff, delivered, overEveryWay, within } from './client.mjs';

overEveryWay(way => {
  test('the client reconnects by itself', async t => {
    let server = await startServer();
    t.after(() => server.stop());
    const url = `${server.url}/testhub`;
    const [client, other] = await Promise.all([1, 2].map(() => connect(t, way, url, { retryDelay: 50, accessTokenFactory: () => 'alice' })));
    const before = await client.invoke('Id');
    await client.invoke('Join', 'group');
    const pending = assert.rejects(client.invoke('Slow', 600_000), cutOff(way));
    await client.invoke('Echo', 'the call before is on its way');

    await within(server.stop('SIGKILL'), 'the end of the server');
    assert.equal((await client.reconnecting.next())?.message, way.cut);
    assert.equal(client.connection.state, HubConnectionState.Reconnecting);
    await pending;
    await assert.rejects(client.invoke('Echo', 'nobody hears this'), { message: `Cannot send data if the connection is not in the 'Connected' State.` });

    server = await startServer([], server.port);
    const [after] = await Promise.all([client.reconnected.next(), other.reconnected.next()]);
    assert.equal(client.connection.state, HubConnectionState.Connected);
    assert.notEqual(await client.invoke('Id'), before);
    assert.equal(after, way.options.skipNegotiation ? undefined : await client.invoke('Id'));
    assert.equal(await client.invoke('Echo', 'hello'), 'hello');
    assert.equal(await client.invoke('UserId'), 'alice');
    await client.invoke('ToGroup', 'group', 'not any more');
    await client.invoke('ToUser', 'alice', 'hello');
    assert.deepEqual(await delivered(client, other), [['hello'], ['hello']]);
    assert.equal(client.closes.size, 0);
  });

  test('a client without automatic reconnect is closed', async t => {
    const server = await startServer();
    t.after(() => server.stop());
    const client = await connect(t, way, `${server.url}/testhub`);
    await within(server.stop('SIGKILL'), 'the end of the server');
    assert.equal((await client.closes.next())?.message, way.cut);
    assert.equal(client.connection.state, HubConnectionState.Disconnected);
  });
});
