// Who may connect, and who may call what.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { againstServer, generic } from './client.mjs';
import { dataFor, request } from './raw.mjs';

const shared = againstServer(({ newClient, shared }) => {
  /** A client that names these hubs when it connects. */
  async function connectTo(t, hubs, options) {
    const client = newClient(t, options);
    for (const hub of hubs) client.on('got', hub);
    await client.start();
    return client;
  }

  test('a hub that wants a user', async t => {
    await assert.rejects(connectTo(t, ['secretHub']), /Error during negotiation request/);
    const client = await connectTo(t, ['secretHub'], { qs: { user: 'ada' } });
    assert.equal(await client.invokeOn('secretHub', 'Name'), 'ada');
  });

  test('a hub that wants a user, beside another', async t => {
    const client = await connectTo(t, ['secretHub', 'testHub']);
    assert.equal(await client.invoke('Echo', 'x'), 'x');
    await assert.rejects(client.invokeOn('secretHub', 'Name'), generic('Name', 'secrethub'));
    await shared.order('all', { hub: 'SecretHub', text: 'secret' });
    await client.invoke('CallMe', 'x');
    assert.ok(client.received.every(({ H }) => H !== 'SecretHub'));
  });

  test('a hub that wants a user, and that the client has not named', async t => {
    const client = newClient(t);
    client.proxy('testHub');
    await client.start();
    await assert.rejects(client.invokeOn('secretHub', 'Name'), generic('Name', 'secrethub'));
  });

  test('a hub that wants a user for calls', async t => {
    const stranger = await connectTo(t, ['invokeSecretHub']);
    await assert.rejects(stranger.invokeOn('invokeSecretHub', 'Name'), generic('Name', 'invokesecrethub'));
    const client = await connectTo(t, ['invokeSecretHub'], { qs: { user: 'ada' } });
    assert.equal(await client.invokeOn('invokeSecretHub', 'Name'), 'ada');
  });

  test('methods that want somebody', async t => {
    const may = async (qs, method) => {
      const client = await connectTo(t, ['mixedHub'], { qs });
      try {
        await client.invokeOn('mixedHub', method);
        return true;
      } catch (error) {
        assert.equal(error.message, generic(method, 'mixedhub').message);
        return false;
      } finally {
        client.stop();
      }
    };
    const nobody = {}, ada = { user: 'ada' }, bob = { user: 'bob' }, eve = { user: 'eve', role: 'a,admin' };
    for (const [method, allowed] of [['Free', [nobody, ada, bob, eve]], ['One', [ada, bob, eve]], ['Admin', [eve]], ['AdaOrBob', [ada, bob]]]) {
      for (const who of [nobody, ada, bob, eve]) assert.equal(await may(who, method), allowed.includes(who), `${method} by ${JSON.stringify(who)}`);
    }
  });

  test('the reason, where it is told', async t => {
    const client = await connectTo(t, ['mixedHub'], { path: '/detailed' });
    await assert.rejects(client.invokeOn('mixedHub', 'One'), /^Error: Caller is not authorized to invoke the One method on MixedHub\.$/i);
  });

  test('a user by a cookie', async t => {
    shared.page.cookies.setCookieSync('user=grace', shared.url);
    t.after(() => shared.page.cookies.setCookieSync('user=; max-age=0', shared.url));
    const client = await connectTo(t, ['secretHub', 'testHub']);
    assert.equal(await client.invokeOn('secretHub', 'Name'), 'grace');
    assert.deepEqual(await client.invoke('WhoAmI'), { Id: client.id, User: 'grace' });
  });

  test('a module that refuses a hub', async t => {
    await assert.rejects(connectTo(t, ['testHub'], { qs: { deny: 'TestHub' } }), /Error during negotiation request/);
    const client = await connectTo(t, ['otherHub', 'testHub'], { qs: { deny: 'TestHub' } });
    assert.equal(await client.invokeOn('otherHub', 'Echo', 'x'), 'other:x');
  });
});

/** The status of a negotiation for these hubs. */
async function statusOf(query, ...hubs) {
  const { status, body } = await request(`${shared.url}/signalr/negotiate`, { query: { clientProtocol: '2.0', connectionData: dataFor(...hubs), ...query } });
  if (status !== 200) assert.equal(body, '');
  return status;
}

test('the status for who may not connect', async () => {
  assert.equal(await statusOf({}, 'SecretHub'), 401);
  assert.equal(await statusOf({ user: 'ada' }, 'SecretHub'), 200);
  assert.equal(await statusOf({}, 'SecretHub', 'TestHub'), 200);
  assert.equal(await statusOf({}, 'MixedHub'), 200);
});

test('the status where calls alone want a user', async () => assert.equal(await statusOf({}, 'InvokeSecretHub'), 200));

test('the status for who is refused by a module', async () => {
  assert.equal(await statusOf({ deny: 'TestHub', user: 'ada' }, 'TestHub'), 403);
});
