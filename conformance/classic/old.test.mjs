// A client of SignalR 2.2, which speaks protocol 1.5.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { againstServer, Client, generic, until, upTo } from './client.mjs';
import { Cutter, waysToCut } from './cutter.mjs';
import { old, openPage } from './page.mjs';

againstServer(({ transport, shared, order, newClient, connect }) => {
  test('the protocol', async t => {
    const client = await connect(t);
    assert.equal(client.connection.clientProtocol, '1.5');
    assert.equal(client.connection.state, 1);
    assert.equal(await client.invoke('Query', 'clientProtocol'), '1.5');
  });

  test('calls', async t => {
    const client = await connect(t);
    assert.equal(await client.invoke('Echo', 'a+b&c'), 'a+b&c');
    assert.equal(await client.invoke('Nothing'), undefined);
    assert.equal(await client.invoke('Add', 1, 2), 3);
    const ada = { Name: 'Ada', Age: 36, Address: { Street: 'here', Zip: '1' }, Tags: ['x'] };
    assert.deepEqual(await client.invoke('EchoPerson', ada), ada);
    await assert.rejects(client.invoke('Fail'), generic('Fail'));
    await assert.rejects(client.invoke('FailHubData'), { message: 'for you', source: 'HubException', data: { user: 'ada', Code: 7 } });
  });

  test('callbacks with state', async t => {
    const client = newClient(t);
    const seen = new Promise(done => client.proxy().on('got', text => done([text, client.proxy().state.mark])));
    await client.start();
    await client.invoke('StateThenCall');
    assert.deepEqual(await seen, ['call', 'set']);
  });

  test('progress', async t => {
    const client = await connect(t);
    assert.deepEqual(await client.invokeWithProgress('ProgressTwo', 'laundry'), { result: 'laundry done', reports: [{ Job: 'laundry', Percent: 100 }] });
  });

  test('groups and messages from outside', async t => {
    const clients = [await connect(t), await connect(t)], group = `old ${clients[0].id}`;
    for (const client of clients) await client.invoke('Join', group);
    await clients[0].invoke('ToGroup', group, 'a');
    await order('group', { group, text: 'b' });
    await clients[1].invoke('Leave', group);
    await order('group', { group, text: 'c' });
    await order('client', { id: clients[1].id, text: 'd' });
    assert.deepEqual(await clients[0].got.take(3), ['a', 'b', 'c']);
    assert.deepEqual(await clients[1].got.take(3), ['a', 'b', 'd']);
  });

  test('start, stop, and start again', async t => {
    const client = newClient(t);
    client.on('hello', 'eventHub');
    const ids = [];
    for (let i = 0; i < 3; i++) {
      await client.start();
      ids.push(client.id);
      client.stop();
    }
    assert.equal(new Set(ids).size, 3);
    for (const id of ids) {
      const log = (await shared.logged(id, /^disconnected/)).filter(entry => !entry.startsWith('module'));
      assert.deepEqual(log, [`connected:${transport}:`, 'disconnected:true::']);
    }
  });

  test('OnConnected fails', async t => {
    const client = newClient(t, { qs: { refuse: 1 } });
    client.on('hello', 'eventHub');
    await assert.rejects(client.start(), /Error during start request\. Stopping the connection\./);
  });

  test('generated proxies', async t => {
    const page = await openPage(shared.url, { client: old, proxies: '/signalr/hubs' });
    t.after(() => page.close());
    const client = new Client(page, '/signalr', { transport, generated: true });
    t.after(() => client.stop());
    const got = client.on('got');
    await client.start();
    client.stop();
    await client.start();
    await page.jQuery.connection.testHub.server.callMe('x');
    assert.equal(await got.next(), 'x');
    await order('client', { id: client.id, text: 'y' });
    assert.deepEqual(await got.take(1), ['y']);
  });

  test('cuts', async t => {
    const cutter = new Cutter(shared.port), page = await openPage(await cutter.listen(t), { client: old });
    t.after(() => page.close());
    const client = await connect(t, { page }), group = `cut ${client.id}`;
    client.connection.reconnectDelay = 50;
    page.jQuery.signalR.transports.longPolling.reconnectDelay = 50;
    await client.invoke('Join', group);
    await order('group', { group, text: 'joined' });
    await client.got.next();
    const texts = upTo(100).map(String);
    for (const [i, text] of texts.entries()) {
      if (i % 25 === 10) cutter.cutAfter(100, waysToCut[i % 3]);
      await order('group', { group, text });
    }
    assert.deepEqual(await client.got.take(100), texts);
    await until(() => client.connection.state === 1, 'the connection');
    assert.equal(await client.invoke('Echo', 'x'), 'x');
    assert.equal(client.got.size, 0);
  });
}, { client: old });
