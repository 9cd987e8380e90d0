// The client of SignalR 2, each request of which reaches another node than the one before.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { logged, order, until, upTo } from '../classic/client.mjs';
import { againstNodes, delivered, eventsAt } from './classic.mjs';

againstNodes(server => {
  const { transport, connectTo, connectAll } = server;

  test('calls', async t => {
    const client = await connectTo(t, 1), count = transport === 'webSockets' ? 10_000 : 500, atOnce = 20, results = [];
    let next = 0;
    await Promise.all(upTo(atOnce).map(async () => {
      while (next < count) {
        const i = next++;
        results[i] = await client.invoke('Echo', `${i}`);
      }
    }));
    assert.deepEqual(results, upTo(count).map(String));
    const nodes = client.balancer.requests.map(({ node }) => node.name);
    assert.deepEqual(nodes, nodes.map((_, i) => `node${i % 3}`));
    assert.equal(client.errors.size, 0);
  });

  test('broadcasts of one node reach the clients of all in order', async t => {
    const clients = await connectAll(t), count = 600, atOnce = 300;
    for (const i of upTo(count)) {
      await order(server.nodes[0], 'all', { text: `${i}` });
      if (i % atOnce === 0) await until(() => clients.every(({ got }) => got.size >= i - atOnce), 'most of what was sent'); // more is not kept for them
    }
    for (const { got } of clients) assert.deepEqual(await got.take(count), upTo(count).map(String));
    assert.ok(clients.every(({ got }) => !got.size));
  });

  test('what a call sends to its caller, and its progress', async t => {
    const client = await connectTo(t, 2);
    await client.invoke('CallMany', 200);
    assert.deepEqual(await client.got.take(200), upTo(200));
    const { result, reports } = await client.invokeWithProgress('Progress', 3);
    assert.equal(result, 'done');
    // Where the result is the answer to the call's request, it may overtake what comes over the stream, and the client drops the rest then.
    assert.deepEqual(reports, transport === 'webSockets' ? upTo(3) : upTo(reports.length));
  });

  test('everybody, others, and connections', async t => {
    const clients = await connectAll(t), [first, second, third] = clients.map(({ id }) => id);
    await clients[0].invoke('All', 'a');
    await clients[1].invoke('Others', 'b');
    await clients[2].invoke('AllExcept', [first, 'nobody'], 'c');
    await clients[0].invoke('ToClient', second, 'd');
    await clients[1].invoke('ToClients', [first, third, 'nobody'], 'e');
    await clients[2].invoke('ToClient', 'nobody', 'lost');
    await order(server.nodes[1], 'client', { id: third, text: 'f' });
    assert.deepEqual(await delivered(clients, [3, 3, 5]), [['a', 'b', 'e'], ['a', 'c', 'd'], ['a', 'b', 'c', 'e', 'f']]);
  });

  test('groups', async t => {
    const clients = await connectAll(t), [red, blue] = [randomUUID(), randomUUID()];
    await clients[0].invoke('Join', red);
    await clients[1].invoke('Join', red);
    await clients[0].invoke('JoinOther', clients[2].id, red); // at another node
    await clients[1].invoke('JoinOther', clients[2].id, red);
    await clients[1].invoke('JoinOther', clients[2].id, blue);
    await clients[2].invoke('ToGroup', red, 'a');
    await clients[0].invoke('ToGroupExcept', red, [clients[1].id], 'b');
    await clients[1].invoke('OthersInGroup', red, 'c');
    await clients[0].invoke('ToGroups', [blue, randomUUID()], 'd');
    const [first, second, third] = clients.map(({ got }) => got);
    assert.deepEqual([(await first.take(3)).sort(), (await second.take(1)).sort(), (await third.take(4)).sort()], [['a', 'b', 'c'], ['a'], ['a', 'b', 'c', 'd']]);
    await order(server.nodes[0], 'leave', { id: clients[2].id, group: red });
    await clients[1].invoke('Leave', red);
    for (const client of clients) await client.invoke('ToGroup', red, `from ${client.node.name}`);
    assert.deepEqual(await delivered(clients, [3, 0, 0]), [['from node0', 'from node1', 'from node2'], [], []]);
  });

  test('users', async t => {
    const [ada, bob] = [randomUUID(), randomUUID()];
    const clients = await connectAll(t, [{ user: ada }, { user: ada }, { user: bob }]);
    assert.deepEqual(await Promise.all(clients.map(async client => (await client.invoke('WhoAmI')).User)), [ada, ada, bob]);
    await clients[2].invoke('ToUser', ada, 'a');
    await clients[0].invoke('ToUsers', [ada, bob], 'b');
    await clients[1].invoke('ToUser', bob, 'c');
    await order(server.nodes[2], 'user', { user: ada, text: 'd' });
    assert.deepEqual(await delivered(clients, [3, 3, 2]), [['a', 'b', 'd'], ['a', 'b', 'd'], ['b', 'c']]);
    const { id } = clients[1];
    clients[1].stop();
    await logged(server.nodes[1], id, /^disconnected/);
    await order(server.nodes[1], 'user', { user: ada, text: 'still there' });
    assert.equal(await clients[0].got.next(), 'still there');
  });

  test('who stops is told to the hub at once, once', async t => {
    for (const i of upTo(3)) {
      const client = await connectTo(t, i, { qs: { user: 'ada', tag: 'x' } }), { id } = client;
      client.stop();
      const log = await logged(server.nodes[i], id, /^disconnected/);
      assert.deepEqual(log.filter(entry => !entry.startsWith('module')), [`connected:${transport}:ada`, 'disconnected:true:ada:x']);
      for (const node of server.nodes) if (node !== server.nodes[i]) assert.deepEqual(await eventsAt(node, id), []);
      assert.equal(client.errors.size, 0);
    }
  });
});
