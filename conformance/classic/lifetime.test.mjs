// The life of a connection, as the hub is told of it: once each.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { againstServer, until, upTo } from './client.mjs';
import { connectRaw, RawClient } from './raw.mjs';

/** What a log says of OnConnected, OnReconnected and OnDisconnected. */
const lives = log => log.filter(entry => /^(re|dis)?connected/.test(entry));

againstServer(({ transport, newClient, shared }) => {
  const eventHub = { hubs: ['EventHub'] };
  const raw = (options = {}) => new RawClient(`${shared.url}/signalr`, transport, { ...eventHub, ...options });
  const open = (t, options) => connectRaw(t, `${shared.url}/signalr`, transport, { ...eventHub, ...options });
  const livesOf = async id => lives(await shared.eventsOf(id));

  /** A raw client that has been cut off at the end of the test, and is not connected yet. */
  function unconnected(t, options) {
    const client = raw(options);
    t.after(() => client.cut());
    return client.negotiate();
  }

  /** A client of EventHub. */
  function eventClient(t, options) {
    const client = newClient(t, options);
    client.hello = client.on('hello', 'eventHub');
    client.got = client.on('got', 'eventHub');
    return client;
  }

  const connected = `connected:${transport}:`;

  test('OnConnected', async t => {
    const client = eventClient(t);
    await client.start();
    assert.deepEqual(await livesOf(client.id), [connected]);
    const hellos = await client.hello.take(3);
    assert.ok(hellos.indexOf(0) < hellos.indexOf(1)); // 2 goes to a group
    assert.deepEqual(hellos.toSorted(), [0, 1, 2]);
  });

  test('start waits for OnConnected, which has joined a group by then', async t => {
    const client = eventClient(t, { qs: { delay: 300 } });
    await client.start();
    assert.deepEqual(await livesOf(client.id), [connected]);
    await client.hello.take(3);
    await shared.order('group', { hub: 'EventHub', group: 'early', text: client.id });
    assert.deepEqual((await client.got.upTo(client.id)).length, 0);
  });

  test('a module is told of a connection', async t => {
    const client = eventClient(t);
    await client.start();
    assert.equal((await shared.eventsOf(client.id)).filter(entry => entry === 'module:connect').length, 1);
  });

  test('OnConnected fails', async t => {
    const client = eventClient(t, { qs: { refuse: 1 } });
    await assert.rejects(client.start(), /Error during start request\. Stopping the connection\./);
    assert.equal(client.connection.state, 4);
    const other = await unconnected(t, { qs: { refuse: 1 } });
    await other.connect();
    assert.equal((await other.start()).status, 500);
  });

  test('the client stops', async t => {
    const client = eventClient(t, { qs: { user: 'ada', tag: 'a b' } });
    await client.start();
    const { id } = client;
    client.stop();
    assert.deepEqual(lives(await shared.logged(id, /^disconnected/)), [`connected:${transport}:ada`, 'disconnected:true:ada:a b']);
    assert.deepEqual(await client.states.take(3), ['connecting', 'connected', 'disconnected']);
    assert.equal(client.errors.size, 0);
  });

  test('the client starts and stops again and again', async t => {
    const client = eventClient(t);
    const ids = [], tokens = [];
    for (let i = 0; i < 5; i++) {
      await client.start();
      ids.push(client.id);
      tokens.push(client.connection.token);
      assert.equal((await client.invokeOn('testHub', 'WhoAmI')).Id, client.id);
      client.stop();
    }
    assert.deepEqual([new Set(ids).size, new Set(tokens).size], [5, 5]);
    for (const id of ids) assert.deepEqual(lives(await shared.logged(id, /^disconnected/)), [connected, 'disconnected:true::']);
    await client.start();
    assert.equal(client.connection.state, 1);
  });

  test('the client stops while it starts', async t => {
    const client = eventClient(t);
    const started = client.start();
    client.stop();
    await assert.rejects(started, /stopped/i);
    await client.start();
    assert.equal(client.connection.state, 1);
    assert.deepEqual(await livesOf(client.id), [connected]);
  });

  test('the client stops in a callback', async t => {
    const client = eventClient(t);
    client.proxy().on('got', () => client.stop());
    await client.start();
    const { id } = client;
    await shared.order('client', { id, text: 'x' });
    await shared.logged(id, 'disconnected:true::');
  });

  test('abort', async t => {
    const client = await open(t);
    const { status, headers, body } = await client.abort();
    assert.deepEqual([status, headers['content-type']?.split(';')[0], body], [200, 'text/plain', '']);
    const how = await client.link.ended();
    assert.deepEqual(lives(await shared.logged(client.id, /^disconnected/)), [connected, 'disconnected:true::']);
    assert.equal(how, transport === 'webSockets' ? '1000' : 'end');
    assert.deepEqual(client.unreadable, []);
    assert.equal((await client.abort()).status, 200);
    assert.deepEqual(await livesOf(client.id), [connected, 'disconnected:true::']);
  });

  test('abort of a connection that nobody has made', async t => {
    const client = await unconnected(t);
    assert.equal((await client.abort()).status, 200);
    assert.deepEqual(await shared.eventsOf(client.id), []);
  });

  test('abort when the link has gone', async t => {
    const client = await open(t);
    client.cut();
    assert.equal((await client.abort()).status, 200);
    assert.deepEqual(lives(await shared.logged(client.id, /^disconnected/)), [connected, 'disconnected:true::']);
  });

  test('a token is good behind an abort', async t => {
    const client = await open(t);
    await client.abort();
    await shared.logged(client.id, 'disconnected:true::');
    await client.reconnect();
    assert.deepEqual(lives(await shared.logged(client.id, 'reconnected')), [connected, 'disconnected:true::', 'reconnected']);
    await shared.order('client', { hub: 'EventHub', id: client.id, text: 'x' });
    await until(() => client.messages.items.some(({ A }) => A?.[0] === 'x'), 'the message');
  });

  test('clients that vanish, and others that said goodbye before', async t => {
    const began = performance.now();
    const [vanished, aborted, neverStarted] = [await open(t, { qs: { user: 'ada', tag: 'x' } }), await open(t), await unconnected(t)];
    await neverStarted.connect();
    const stopped = eventClient(t);
    await stopped.start();
    const { id } = stopped;
    await aborted.abort();
    stopped.stop();
    vanished.cut();
    neverStarted.cut();
    await shared.logged(id, 'disconnected:true::');
    assert.deepEqual(await livesOf(vanished.id), [`connected:${transport}:ada`]);
    const log = await shared.logged(vanished.id, /^disconnected/);
    assert.ok(performance.now() - began >= 5900, 'before the time for it');
    assert.deepEqual(lives(log), [`connected:${transport}:ada`, 'disconnected:false:ada:x']);
    assert.deepEqual(await livesOf(aborted.id), [connected, 'disconnected:true::']);
    assert.deepEqual(await livesOf(id), [connected, 'disconnected:true::']);
    // The token stays good.
    await vanished.reconnect();
    assert.deepEqual(lives(await shared.logged(vanished.id, 'reconnected')), [...lives(log), 'reconnected']);
  });

  test('a client that comes back', async t => {
    const client = await open(t);
    client.cut();
    await client.reconnect();
    assert.deepEqual(lives(await shared.logged(client.id, 'reconnected')), [connected, 'reconnected']);
    assert.ok(client.responses.slice(1).every(({ S }) => S === undefined), 'a second init message');
  });

  test('a client that comes back while its link is there', async t => {
    const client = await open(t);
    const { link } = client;
    await client.reconnect();
    assert.equal(await link.ended(), transport === 'webSockets' ? '1000' : 'end');
    await shared.order('client', { hub: 'EventHub', id: client.id, text: 'x' });
    await until(() => client.messages.items.some(({ A }) => A?.[0] === 'x'), 'the message');
    assert.deepEqual(await livesOf(client.id), [connected, 'reconnected']);
    assert.deepEqual(client.unreadable, []);
  });

  test('who comes back is not known', async t => {
    const client = await unconnected(t);
    await client.reconnect();
    assert.deepEqual(lives(await shared.logged(client.id, 'reconnected')), ['reconnected']);
    await shared.order('client', { hub: 'EventHub', id: client.id, text: 'x' });
    assert.deepEqual(await client.got(1), ['x']);
    assert.ok(client.responses.every(({ S }) => S === undefined), 'an init message');
  });

  test('a path that means nothing is one to receive at', async t => {
    const client = await unconnected(t);
    await client.connect();
    await client.start();
    const link = await client.receive(''); // the next poll, or a stream of somebody who comes back
    await shared.order('client', { hub: 'EventHub', id: client.id, text: 'x' });
    const seen = () => client.messages.items.some(({ A }) => A?.[0] === 'x');
    if (transport === 'longPolling') {
      assert.equal(await link.ended(), 'end');
      while (!seen()) await client.poll(); // the first one may tell the groups, which it did not know
    }
    await until(seen, 'the message');
    assert.deepEqual(await livesOf(client.id), transport === 'longPolling' ? [connected] : [connected, 'reconnected']);
  });

  if (transport === 'longPolling') {
    test('a poll of a connection that is not known is no event', async t => {
      const client = await unconnected(t);
      const poll = await client.receive('/poll');
      await shared.order('client', { hub: 'EventHub', id: client.id, text: 'x' });
      assert.equal(await poll.ended(), 'end');
      assert.deepEqual(await client.got(1), ['x']);
      assert.deepEqual(await livesOf(client.id), []);
    });
  }

  test('a second connect takes the place of the first', async t => {
    const client = await unconnected(t, { polls: false });
    const first = await client.connect();
    const second = await client.receive('/connect');
    assert.equal((await client.initialized(second)).S, 1);
    assert.equal(await first.ended(), transport === 'webSockets' ? '1000' : 'end');
    assert.equal((await client.start()).status, 200);
    assert.deepEqual(await livesOf(client.id), [connected]);
    assert.deepEqual(client.unreadable, []);
  });

  test('a second connect behind the start', async t => {
    const client = await open(t);
    const second = await client.receive('/connect');
    assert.equal((await client.initialized(second)).S, 1);
    assert.equal((await client.start()).status, 200);
    assert.deepEqual(await livesOf(client.id), [connected]);
  });

  test('many connects at once', async t => {
    const client = await unconnected(t, { polls: false });
    const links = await Promise.all(upTo(20).map(() => client.receive('/connect')));
    t.after(() => links.forEach(link => link.cut()));
    assert.equal((await client.start()).status, 200);
    assert.deepEqual(await livesOf(client.id), [connected]);
    await client.abort();
    for (const link of links) await link.ended();
    assert.deepEqual(lives(await shared.logged(client.id, /^disconnected/)), [connected, 'disconnected:true::']);
    assert.deepEqual(client.unreadable, []);
  });

  test('two starts', async t => {
    const client = await unconnected(t, { qs: { delay: 200 } });
    await client.connect();
    const answers = [...await Promise.all([client.start(), client.start()]), await client.start()];
    assert.deepEqual(answers.map(({ status, body }) => [status, body]), Array(3).fill([200, '{ "Response": "started" }']));
    assert.deepEqual(await livesOf(client.id), [connected]);
  });

  test('the oldest protocol: OnConnected comes before the init message, once', async t => {
    const client = await unconnected(t, { protocol: '1.3', qs: { delay: 300 }, polls: false });
    assert.equal(client.negotiated.ProtocolVersion, '1.3');
    const links = await Promise.all([client.receive('/connect'), client.receive('/connect')]);
    t.after(() => links.forEach(link => link.cut()));
    await until(() => links.some(({ frames }) => frames.items.some(text => text.includes('"S":1'))), 'the init message');
    assert.deepEqual(await livesOf(client.id), [connected]);
  });

  test('the init message does not wait for OnConnected', async t => {
    const client = await unconnected(t, { qs: { delay: 1500 } });
    await client.connect(); // waits for the init message
    let started = false;
    const answer = client.start().then(({ status }) => { started = true; return status; });
    const hello = (await client.messages.next()).A[0]; // what it sends arrives while it runs
    assert.deepEqual([hello, started], [0, false]);
    assert.equal(await answer, 200);
  });
});
