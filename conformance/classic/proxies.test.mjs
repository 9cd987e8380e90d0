// The script with generated proxies, and pages that use it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { againstServer, Client, generic } from './client.mjs';
import { current, openPage } from './page.mjs';
import { request } from './raw.mjs';

const shared = againstServer(({ transport, shared, connect }) => {
  /** A page with proxies of its own, and its connection. */
  async function openClient(t, path = '/signalr') {
    const page = await openPage(shared.url, { proxies: `${path}/hubs` });
    const client = new Client(page, path, { transport, generated: true });
    t.after(() => {
      client.stop();
      page.close();
    });
    return { page, client, connection: page.jQuery.connection };
  }

  test('calls and callbacks', async t => {
    const { page, client, connection } = await openClient(t);
    const got = client.on('got'), done = client.on('done', 'typedHub'), notify = client.on('notify', 'typedHub');
    await client.start();
    const call = deferred => new Promise((resolve, failed) => deferred.then(resolve, failed));
    const { server } = connection.testHub;
    assert.equal(await call(server.echo('x')), 'x');
    assert.equal(await call(server.overload()), '0');
    assert.equal(await call(server.overload('a', 'b')), '2:ab');
    assert.equal(await call(server.add(1, 2)), 3);
    await call(server.callMe('hello'));
    assert.equal(await got.next(), 'hello');
    await call(connection.typedHub.server.run('x'));
    assert.deepEqual([await notify.next(), await done.next()], [['x', 1], []]);
    assert.equal(connection.typedHub.state.typed, 'yes');
    connection.testHub.state.counter = 1;
    assert.equal(await call(server.countState()), 2);
    assert.equal(connection.testHub.state.counter, 2);
    await assert.rejects(call(server.fail()), { message: generic('Fail').message });
    assert.equal(await call(connection.StrangeName.server.SayIt('x')), 'said x');
    assert.equal(await call(connection.StrangeName.server.plain()), 'plain');
    assert.deepEqual(page.errors, []);
  });

  test('callbacks after a stop and another start, and no more when they are taken away', async t => {
    const { client, connection } = await openClient(t);
    const got = client.on('got');
    await client.start();
    client.stop();
    await client.start();
    await client.invoke('CallMe', 'a');
    assert.equal(await got.next(), 'a');
    client.stop();
    const other = client.on('other');
    await client.start();
    await client.invoke('CallMe', 'b');
    await client.invoke('CallNamed', 'other', [1]);
    await other.next();
    assert.deepEqual(got.items, ['b']);
    assert.equal(connection.hub.data, '[{"name":"testhub"}]');
  });

  test('the address of the connection is that of the script', async t => {
    const { client, connection } = await openClient(t, '/detailed');
    assert.equal(connection.hub.url, '/detailed');
    const got = client.on('got');
    await client.start();
    await client.invoke('CallMe', 'x');
    assert.equal(await got.next(), 'x');
    await assert.rejects(client.invoke('Fail'), { message: 'secret reason' });
  });

  test('a path without proxies serves hubs all the same', async t => {
    const client = await connect(t, { path: '/noproxy' });
    assert.equal(await client.invoke('Echo', 'x'), 'x');
  });
});

const at = path => request(shared.url + path);
const script = 'application/javascript; charset=UTF-8';

test('addresses of the script', async () => {
  const { status, headers, body } = await at('/signalr/hubs');
  assert.deepEqual([status, headers['content-type'], headers['x-content-type-options']], [200, script, 'nosniff']);
  for (const path of ['/signalr/js', '/signalr/hubs/', '/signalr/js/', '/signalr/HUBS']) {
    const other = await at(path);
    assert.deepEqual([other.status, other.headers['content-type'], other.body], [200, script, body], path);
  }
});

test('all hubs and methods have their names', async t => {
  const page = await openPage(shared.url, { proxies: '/signalr/hubs' });
  t.after(() => page.close());
  const { connection } = page.jQuery;
  for (const hub of ['testHub', 'otherHub', 'StrangeName', 'eventHub', 'typedHub', 'secretHub', 'mixedHub']) {
    assert.equal(connection[hub]?.hubName, hub.toLowerCase(), hub);
    assert.equal(typeof connection[hub].client, 'object', hub);
  }
  const { server } = connection.testHub;
  for (const method of ['echo', 'add', 'nothing', 'overload', 'callMe', 'toGroupExcept', 'joinAndSend', 'whoAmI', 'progressTwo']) assert.equal(typeof server[method], 'function', method);
  for (const method of ['onConnected', 'onDisconnected', 'onReconnected', 'dispose', 'clients', 'context', 'groups', 'Echo']) assert.equal(server[method], undefined, method);
  assert.deepEqual(Object.keys(connection.StrangeName.server).toSorted(), ['SayIt', 'plain']);
  const names = Object.keys(server);
  assert.deepEqual(names, names.toSorted());
});

test('what a call sends is the name of the server', async t => {
  const page = await openPage(shared.url, { proxies: '/signalr/hubs' });
  t.after(() => page.close());
  const { connection } = page.jQuery, sent = [];
  for (const hub of ['testHub', 'StrangeName']) connection[hub].invoke = (...args) => { sent.push([...args]); };
  connection.testHub.server.toGroup('g', 'x', 'more');
  connection.testHub.server.nothing();
  connection.StrangeName.server.SayIt('x');
  connection.StrangeName.server.plain();
  assert.deepEqual(sent, [['ToGroup', 'g', 'x', 'more'], ['Nothing'], ['SayIt', 'x'], ['Plain']]);
});

test('the script without the client', async () => {
  await assert.rejects(openPage(shared.url, { scripts: current.scripts.slice(0, 1), proxies: '/signalr/hubs' }), /SignalR/);
});

test('no proxies', async () => {
  for (const path of ['/noproxy/hubs', '/noproxy/js', '/noproxy/hubs/']) {
    const { status, headers, body } = await at(path);
    assert.deepEqual([status, headers['content-type'], body], [200, script, 'throw new Error(\'SignalR: JavaScript Hub proxy generation has been disabled.\');'], path);
  }
});
