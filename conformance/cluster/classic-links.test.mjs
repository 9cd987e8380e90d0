// Clients of SignalR 2 that lose what they receive by, or the node that they were connected to, and come back at another one.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { HttpTransportType } from '@microsoft/signalr';
import { flags, logged, order, until, upTo } from '../classic/client.mjs';
import { Cutter, waysToCut } from '../classic/cutter.mjs';
import { RawClient } from '../classic/raw.mjs';
import { json, newClient } from '../node/client.mjs';
import { againstNodes, balancerTo, connectTo, eventsAt } from './classic.mjs';
import { startNodes, stopNodes } from './nodes.mjs';

againstNodes(server => {
  const { transport } = server;

  /** A raw client whose connection is opened by nodes[i]. */
  async function raw(t, i, { type = transport, ...options } = {}) {
    const balancer = balancerTo(server.nodes, i);
    const client = new RawClient(`${await balancer.listen()}/signalr`, type, { hubs: ['TestHub', 'EventHub'], ...options });
    t.after(() => {
      client.cut();
      balancer.close();
    });
    return Object.assign(client, { balancer });
  }

  test('a client that is cut off comes back through other nodes, and has missed nothing', async t => {
    let cutter;
    const front = balancer => (cutter = new Cutter(balancer.port)).listen(t);
    const client = await server.connectTo(t, 1, { front }), { id } = client, group = randomUUID(), cuts = 9, part = 20;
    await client.invoke('Join', group);
    await order(server.nodes[0], 'group', { group, text: 'joined' }); // when this has come, so has the token of its groups
    assert.equal(await client.got.next(), 'joined');
    for (const n of upTo(cuts)) {
      let isCut = false;
      const cut = cutter.cutAfter(50 + 10 * n, waysToCut[n % waysToCut.length]).then(() => { isCut = true; });
      for (const i of upTo(part)) await order(server.nodes[i % 3], ...(i % 2 ? ['group', { group, text: `${n * part + i}` }] : ['client', { id, text: `${n * part + i}` }]));
      await until(async () => isCut || await order(server.nodes[0], 'client', { id, text: 'more', method: 'unheard' }) && false, `cut ${n}`); // as much as it takes
      await cut;
      // Those that different nodes have sent have no order.
      assert.deepEqual((await client.got.take(part)).map(Number).sort((a, b) => a - b), upTo(part).map(i => n * part + i));
    }
    assert.equal(client.got.size, 0);
    assert.equal((await client.invoke('WhoAmI')).Id, id);
    const log = await eventsAt(server.nodes[1], id);
    assert.equal(log[0], `connected:${transport}:`);
    assert.ok(log.length > 1 && log.slice(1).every(entry => entry === 'reconnected'), `${log}`);
    for (const node of [server.nodes[0], server.nodes[2]]) assert.deepEqual(await eventsAt(node, id), []);
  });

  test('requests are made by the user of the connection', async t => {
    const client = await raw(t, 1, { qs: { user: 'ada' } });
    await client.open();
    assert.equal((await client.invoke('WhoAmI')).User, 'ada');
    const data = JSON.stringify({ H: 'TestHub', M: 'Echo', A: ['x'], I: 0 });
    for (const _ of server.nodes) {
      for (const user of ['bob', undefined]) {
        for (const [suffix, form] of [['/send', { data }], ['/start'], ['/abort', {}]]) {
          assert.equal((await client.request(suffix, { form, query: { user, transport: 'longPolling' } })).status, 403, `${suffix} of ${user}`);
        }
      }
    }
    for (const i of upTo(3)) assert.equal(await client.invoke('Echo', `${i}`), `${i}`);
    assert.equal((await client.abort()).status, 200);
    await logged(server.nodes[1], client.id, 'disconnected:true:ada:');
    assert.equal((await eventsAt(server.nodes[1], client.id)).length, 2);
  });

  if (transport === 'webSockets') {
    test('clients of both kinds in one group', async t => {
      const classic = await server.connectTo(t, 0), balancer = balancerTo(server.nodes, 1), group = randomUUID();
      const modern = newClient(t, { ...json, options: { transport: HttpTransportType.LongPolling } }, `${await balancer.listen()}/classichub`);
      t.after(() => balancer.close());
      modern.got = modern.callback('got');
      await modern.start();
      for (const client of [classic, modern]) await client.invoke('Join', group);
      for (const i of upTo(100)) await (i % 2 ? classic : modern).invoke('ToGroup', group, `${i}`);
      for (const i of upTo(100)) await order(server.nodes[2], 'group', { group, text: `2 ${i}` });
      for (const { got } of [classic, modern]) {
        const texts = await got.take(200);
        assert.deepEqual(texts.filter(text => text.startsWith('2 ')), upTo(100).map(i => `2 ${i}`));
        for (const kind of [0, 1]) assert.deepEqual(texts.filter(text => !text.includes(' ') && text % 2 === kind), upTo(50).map(i => `${2 * i + kind}`));
      }
    });
  }

  if (transport === 'serverSentEvents') {
    test('forever frame', async t => {
      const client = await raw(t, 2, { type: 'foreverFrame', qs: { frameId: '7' } }), group = randomUUID();
      await client.open();
      for (const i of upTo(50)) assert.equal(await client.invoke('Echo', `${i}`), `${i}`);
      await client.invoke('Join', group);
      const got = () => client.messages.items.filter(({ M }) => M === 'got').map(({ A: [text] }) => text);
      for (const i of upTo(50)) await order(server.nodes[0], 'group', { group, text: `${i}` });
      await until(() => got().length === 50, 'the messages');
      client.cut();
      await order(server.nodes[1], 'group', { group, text: '50' });
      await client.reconnect();
      await until(() => got().length === 51, 'the message that was missed');
      assert.deepEqual(got(), upTo(51).map(String));
      assert.equal((await client.abort()).status, 200);
      assert.deepEqual(await logged(server.nodes[2], client.id, /^disconnected/).then(() => eventsAt(server.nodes[2], client.id)), ['connected:foreverFrame:', 'reconnected', 'disconnected:true::']);
    });
  }

  test('the node of a client is killed: another one has it, and its groups, from then on', async t => {
    const nodes = await startNodes(flags), group = randomUUID();
    t.after(() => stopNodes(nodes));
    const [client, witness] = [await connectTo(t, transport, nodes, 1), await connectTo(t, transport, nodes, 0)], { id } = client;
    await client.invoke('Join', group);
    await order(nodes[0], 'group', { group, text: 'a' }); // when this has come, so has the token of its groups
    assert.equal(await client.got.next(), 'a');
    for (const { balancer } of [client, witness]) balancer.leaveOut(nodes[1]);
    if (transport === 'longPolling') { // the next polls are at other nodes
      const polls = [client, witness].map(({ balancer }) => [balancer, balancer.requests.length]);
      await order(nodes[0], 'all', { text: 'ends polls' });
      for (const one of [client, witness]) assert.equal(await one.got.next(), 'ends polls');
      await until(() => polls.every(([{ requests }, before]) => requests.length > before), 'polls');
    }
    await nodes[1].stop();
    const events = async () => (await Promise.all([nodes[0], nodes[2]].map(node => eventsAt(node, id)))).flat();
    if (transport === 'longPolling') {
      // What is sent is received by whom it finds.
      await until(async () => {
        await order(nodes[0], 'client', { id, text: 'here' });
        return client.got.size;
      }, 'the next poll');
      await order(nodes[0], 'client', { id, text: 'goes on' });
      await client.got.upTo('goes on');
    } else {
      await until(async () => (await events()).includes('reconnected'), 'the reconnect');
      await until(() => client.connection.state === 1, 'the state');
    }
    await witness.invoke('ToGroup', group, 'b');
    await order(nodes[2], 'client', { id, text: 'c' });
    assert.deepEqual((await client.got.take(2)).sort(), ['b', 'c']);
    assert.equal((await client.invoke('WhoAmI')).Id, id);
    await client.invoke('ToClient', witness.id, 'd');
    assert.equal(await witness.got.next(), 'd');
    const told = await events();
    client.stop();
    // A poll that comes when the node has gone is no event for the hub, and such a connection has no others.
    if (transport !== 'longPolling' || told.length) await until(async () => (await events()).length > told.length, 'the end');
    assert.deepEqual(await events(), told.length ? ['reconnected', 'disconnected:true::'] : []);
  });
});
