// Who may connect, and who may call what: tokens, policies of hubs and of methods, and services, which no client can send.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { reference } from '../server.mjs';
import { againstServer, delivered } from './client.mjs';
import { as, ask, bearer, connectObserved, negotiated, refusalOf } from './tokens.mjs';

const unauthorized = { message: `Failed to invoke 'AdminOnly' because user is unauthorized` };

againstServer([], server => {
  const { connect, newClient, way } = server;
  const connectAs = (t, token, path = '/testhub') => connect(t, path, as(token));

  test('the client puts its token into the header, or for an event stream into the query', async t => {
    const client = await connectAs(t, 'alice & co:admin');
    assert.equal(await client.invoke('Query', 'access_token'), way.transport === 'ServerSentEvents' ? 'alice & co:admin' : null);
    assert.equal(await client.invoke('UserId'), 'alice & co');
    assert.equal(await client.invoke('AdminOnly'), 'ok');
  });

  test('a token in the query is as good as one in the header', async t => {
    const client = await connect(t, '/authorizedhub?access_token=alice');
    assert.equal(await client.invoke('UserId'), 'alice');
    const admin = await connect(t, '/testhub?access_token=bob:admin');
    assert.equal(await admin.invoke('AdminOnly'), 'ok');
  });

  test('the header goes before the query', async t => {
    const client = await connect(t, '/testhub?access_token=bob:admin', { headers: bearer('alice:user') });
    assert.equal(await client.invoke('UserId'), 'alice');
    await assert.rejects(client.invoke('AdminOnly'), unauthorized);
  });

  describe('a method for admins', () => {
    for (const [who, token] of [
      ['nobody', ''], ['somebody without a role', 'alice'], ['somebody with another role', 'alice:user'], ['a role in another case', 'alice:Admin'],
      ['a user of that name', 'admin'], ['a role that is not the first one', 'alice:user:admin'],
    ]) {
      test(`refuses ${who}`, async t => {
        const client = await connectAs(t, token);
        await assert.rejects(client.invoke('AdminOnly'), unauthorized);
        assert.equal(await client.invoke('Echo', 'the connection goes on'), 'the connection goes on');
      });
    }

    for (const token of ['alice:admin', ':admin', 'alice:admin:user']) {
      test(`allows ${token}`, async t => {
        const client = await connectAs(t, token);
        assert.equal(await client.invoke('AdminOnly'), 'ok');
        assert.equal(await client.invoke('aDMINoNLY'), 'ok');
      });
    }

    test('is refused by its declared name', async t => {
      const client = await connectAs(t, 'alice:user');
      await assert.rejects(client.invoke('aDMINoNLY'), unauthorized);
    });

    test('is refused before it is seen to be no stream', async t => {
      const [user, admin] = [await connectAs(t, 'alice:user'), await connectAs(t, 'alice:admin')];
      await assert.rejects(user.stream('AdminOnly').end(), unauthorized);
      await assert.rejects(admin.stream('AdminOnly').end(), { message: `The client attempted to invoke the non-streaming 'AdminOnly' method with a streaming invocation.` });
    });

    test('is refused in silence when nobody waits for the answer', async t => {
      const client = await connectAs(t, 'alice:user');
      await client.send('AdminOnly');
      assert.equal(await client.invoke('Echo', 'hello'), 'hello');
      assert.deepEqual(client.receivedOfType(3).map(({ error }) => error).filter(Boolean), []);
    });

    test('is refused to each client by its own token', async t => {
      const clients = await Promise.all(['alice:admin', 'alice:user', 'bob:admin', ''].map(token => connectAs(t, token)));
      const answers = await Promise.all(clients.map(client => client.invoke('AdminOnly').catch(({ message }) => message)));
      assert.deepEqual(answers, ['ok', unauthorized.message, 'ok', unauthorized.message]);
    });
  });

  describe('a hub for users alone', () => {
    test('has no client without a token', async t => {
      for (const options of [{}, as(''), { headers: { Authorization: 'Basic YTpi' } }]) {
        const client = newClient(t, '/authorizedhub', options);
        if (way.options.skipNegotiation) {
          await assert.rejects(client.start(), /WebSocket failed to connect/);
        } else {
          await assert.rejects(client.start(), { message: `Failed to complete negotiation with the server: Error: Unauthorized: Status code '401'` });
        }
        assert.equal(client.connection.state, 'Disconnected');
      }
    });

    test('a client may come with a token after it was refused', async t => {
      let token = '';
      const client = newClient(t, '/authorizedhub', { accessTokenFactory: () => token });
      await assert.rejects(client.start());
      token = 'alice';
      await client.start();
      assert.equal(await client.invoke('UserId'), 'alice');
      assert.equal(await client.invoke('Echo', 'hello'), 'hello');
    });

    test('answers no request without a token', async () => {
      const hub = `${server.url}/authorizedhub`;
      assert.equal((await ask('POST', `${hub}/negotiate?negotiateVersion=1`)).status, 401);
      assert.equal(await refusalOf(hub), 401);
      const url = `${hub}?id=${await negotiated(hub, 'alice')}`;
      assert.equal(await refusalOf(url), 401);
      for (const method of ['GET', 'POST']) assert.equal((await ask(method, url)).status, 401, method);
      assert.equal((await ask('GET', url, 'alice')).status, 200);
      for (const method of ['GET', 'POST', 'DELETE']) assert.equal((await ask(method, url)).status, 401, method);
      assert.equal((await ask('DELETE', url, 'alice')).status, 202);
    });
  });

  const noRequests = way.transport === 'WebSockets' && 'A WebSocket is one request.';
  const anybody = reference && 'The original of this version lets everybody go on with a connection.';
  test('others cannot use the connection of a user', { skip: noRequests || anybody }, async t => {
    const { client, id } = await connectObserved(t, way, `${server.url}/testhub`, as('alice:admin'));
    const url = `${server.url}/testhub?id=${id}`;
    const hello = `${JSON.stringify({ type: 1, target: 'ToCaller', arguments: ['not from alice'] })}\u001e`;
    for (const token of ['bob', 'bob:admin', 'Alice:admin', '']) {
      assert.equal((await ask('POST', url, token, hello)).status, 403, `POST by ${token}`);
      if (way.transport === 'LongPolling') for (const method of ['GET', 'DELETE']) assert.equal((await ask(method, url, token)).status, 403, `${method} by ${token}`);
    }
    assert.deepEqual(await delivered(client), [[]]);
    assert.equal(await client.invoke('AdminOnly'), 'ok');
  });

  test('others cannot open the connection that a user has negotiated', { skip: way.options.skipNegotiation ? 'Nothing is negotiated.' : anybody }, async () => {
    const hub = `${server.url}/testhub`, url = `${hub}?id=${await negotiated(hub, 'alice')}`;
    for (const token of ['bob', '']) {
      const status = way.transport === 'WebSockets' ? await refusalOf(url, token) : (await ask('GET', url, token)).status;
      assert.equal(status, 403, token);
    }
  });

  test('a service is not a parameter for clients', async t => {
    const client = await connect(t);
    assert.equal(await client.invoke('Service'), 'clock');
    for (const argument of [{ name: 'mine' }, { Name: 'mine' }, null, 'mine']) {
      await assert.rejects(client.invoke('Service', argument),
        { message: `Failed to invoke 'Service' due to an error on the server. Error: Invocation provides 1 argument(s) but target expects 0.` });
    }
  });
});
