// Credentials that expire, and that are refreshed. The original's program has none.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MessageType } from '@microsoft/signalr';
import { reference } from '../server.mjs';
import { againstServer, until } from './client.mjs';
import { as, ask, connectObserved, inTime, negotiated } from './tokens.mjs';

const unauthorized = { message: `Failed to invoke 'AdminOnly' because user is unauthorized` };
const longAfter = () => Date.now() + 3_600_000;

describe('credentials that expire', { skip: reference && 'The tokens of the original\'s program do not expire.' }, () => againstServer([], server => {
  const { newClient, way } = server;

  /** A client that is connected by a token that expires at a time, and has another one afterwards. */
  async function connectUntil(t, expires, options = {}, next = () => `alice:admin:${longAfter()}`) {
    let token = () => `alice:user:${expires}`;
    const client = newClient(t, '/expiring', { ...as(() => token()), ...options });
    client.connection.onreconnecting(() => { token = next; });
    await client.start();
    return client;
  }

  /** How a connection ends that has expired: by a Close without an error. A poll with the old token that is made behind that is refused. */
  function assertExpired(client, error) {
    if (way.transport === 'LongPolling' && error?.statusCode === 401) return;
    assert.equal(error, undefined);
    assert.deepEqual(client.receivedOfType(MessageType.Close), [{ type: MessageType.Close, allowReconnect: true }]);
  }

  // Times pass side by side.
  describe('without being refreshed', { concurrency: true }, () => {
    test('the connection is closed, and the client comes back with another token', async t => {
      const client = await inTime(async expires => {
        const client = await connectUntil(t, expires, { retryDelay: 50 });
        await assert.rejects(client.invoke('AdminOnly'), unauthorized);
        return client;
      });
      const before = client.connection.connectionId;
      assertExpired(client, await client.reconnecting.next());
      await client.reconnected.next();
      if (before) assert.notEqual(client.connection.connectionId, before);
      assert.equal(await client.invoke('UserId'), 'alice');
      assert.equal(await client.invoke('AdminOnly'), 'ok');
      assert.equal(client.closes.size, 0);
    });

    test('a client that does not reconnect is closed', async t => {
      const client = await inTime(expires => connectUntil(t, expires));
      assertExpired(client, await client.closes.next());
    });

    test('a client that has no other token does not come back before it has one', async t => {
      let asked = 0;
      const client = await inTime(expires => connectUntil(t, expires, { retryDelay: 10 }, () => `alice:admin:${asked++ < 3 ? 1 : longAfter()}`));
      await client.reconnected.next();
      assert.ok(asked > 3);
      assert.equal(await client.invoke('AdminOnly'), 'ok');
    });

    test('an expired token opens nothing', async t => {
      const client = newClient(t, '/expiring', as('alice:user:1'));
      await assert.rejects(client.start(), way.options.skipNegotiation ? /WebSocket failed to connect/ : /Status code '401'/);
    });
  });

  const noToken = way.options.skipNegotiation && 'A connection without negotiation has no token by which it could be refreshed.';
  describe('that are refreshed', { skip: noToken }, () => {
    const refresh = (id, token) => ask('POST', `${server.url}/expiring/refresh?id=${id}`, token);
    const observed = (t, token) => connectObserved(t, way, `${server.url}/expiring`, as(token));

    test('keep the connection open', async t => {
      const [client, other] = await inTime(async expires => {
        const { client, id, use } = await observed(t, `alice:user:${expires}`);
        const token = `alice:user:${longAfter()}`;
        const answer = await refresh(id, token);
        assert.equal(answer.status, 200);
        const { tokenLifetimeSeconds } = await answer.json();
        assert.ok(tokenLifetimeSeconds > 1800 && tokenLifetimeSeconds <= 3600, `${tokenLifetimeSeconds}`);
        use(token);
        return [client, await connectUntil(t, expires + 2000)];
      });
      // What expires later shows that the first time is over.
      await other.closes.next();
      assert.equal(await client.invoke('UserId'), 'alice');
      assert.equal(client.closes.size, 0);
    });

    test('are those of later calls, and the hub is told', async t => {
      const { client, id } = await observed(t, 'alice:user');
      const told = client.callback('Refreshed');
      await assert.rejects(client.invoke('AdminOnly'), unauthorized);
      assert.deepEqual(await (await refresh(id, 'alice:admin')).json(), {});
      assert.deepEqual(await told.next(), ['admin']);
      assert.equal(await client.invoke('AdminOnly'), 'ok');
      await refresh(id, 'alice:user');
      assert.deepEqual(await told.next(), ['user']);
      await assert.rejects(client.invoke('AdminOnly'), unauthorized);
      assert.equal(await client.invoke('Id'), client.connection.connectionId);
    });

    test('are not replaced by some that expire before', async t => {
      const { client, id } = await observed(t, `alice:admin:${longAfter()}`);
      assert.equal((await refresh(id, `alice:user:${Date.now() + 60_000}`)).status, 200);
      assert.equal(await client.invoke('AdminOnly'), 'ok');
    });

    test('are refused, and the connection stays as it was', async t => {
      const { client, id } = await observed(t, 'alice:admin');
      for (const [what, answer, status, error] of [
        ['another user', refresh(id, 'bob:admin'), 403, 'user_changed'],
        ['nobody', refresh(id, ''), 403, 'user_changed'],
        ['an expired token', refresh(id, 'alice:admin:1'), 401, 'invalid_token'],
        ['an unknown connection', refresh('unknown', 'alice:admin'), 404, 'connection_not_found'],
        ['no connection', ask('POST', `${server.url}/expiring/refresh`, 'alice:admin'), 400, 'missing_connection_token'],
        ['version 0', refresh(await negotiated(`${server.url}/expiring`, 'alice', 0), 'alice'), 400, 'unsupported_negotiate_version'],
        ['not open yet', refresh(await negotiated(`${server.url}/expiring`, 'alice'), 'alice'), 404, 'connection_not_found'],
      ]) {
        const response = await answer;
        assert.equal(response.status, status, what);
        assert.match(response.headers.get('Content-Type'), /^application\/json/);
        assert.deepEqual(await response.json(), { error }, what);
      }
      assert.equal((await ask('GET', `${server.url}/expiring/refresh?id=${id}`, 'alice:admin')).status, 405);
      assert.equal(await client.invoke('UserId'), 'alice');
      assert.equal(await client.invoke('AdminOnly'), 'ok');
    });

    test('are not those of a connection that has ended', async t => {
      const { client, id } = await observed(t, 'alice:admin');
      await client.stop();
      await until(async () => (await refresh(id, 'alice:admin')).status === 404, 'the end of the connection');
    });

    test('are not taken where an endpoint does not say so', async t => {
      const { id } = await connectObserved(t, way, `${server.url}/testhub`, as('alice'));
      assert.equal((await ask('POST', `${server.url}/testhub/refresh?id=${id}`, 'alice')).status, 404);
    });
  });
}));
