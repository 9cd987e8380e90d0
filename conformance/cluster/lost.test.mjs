// Nodes that go: what becomes of their clients, and of those of the other nodes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failed, overEveryWay, until, upTo } from '../node/client.mjs';
import { ask } from '../node/tokens.mjs';
import { connectTo, delivered } from './client.mjs';
import { startNodes, statusOf, stopNodes } from './nodes.mjs';

overEveryWay(way => {
  /** Three nodes for this test, and clients of them; all reconnect. */
  async function connectAll(t, homes) {
    const nodes = await startNodes();
    t.after(() => stopNodes(nodes));
    return { nodes, clients: await Promise.all(homes.map(i => connectTo(t, way, nodes, i, { retryDelay: 20 }))) };
  }

  /** Sends no more requests to a node, and waits until it has no poll of these clients. */
  async function leaveOut(node, clients) {
    for (const client of clients) client.balancer.leaveOut(node);
    for (const client of clients) {
      await client.invoke('Echo', 'ends a poll');
      if (way.transport === 'LongPolling') await until(() => client.balancer.requests.findLast(({ method }) => method === 'GET').node !== node, 'a poll at another node');
    }
  }

  test('a node is killed', async t => {
    const { nodes, clients } = await connectAll(t, [1, 0, 2]), [client, ...others] = clients, { id } = client;
    const token = new URL(client.balancer.requests.at(-1).url, 'http://node').searchParams.get('id');
    client.connection.on('Ask', () => new Promise(() => {}));
    const call = client.connection.invoke('Slow', 600_000).then(() => assert.fail('it is answered'), () => {});
    const asked = others.map(other => assert.rejects(other.invoke('AskClient', id, 'who?'), failed('AskClient', ` Error: Connection '${id}' disconnected.`)));
    await until(() => client.received.filter(({ target }) => target === 'Ask').length === others.length, 'the questions');
    await leaveOut(nodes[1], clients);
    await nodes[1].stop();
    if (token) {
      for (const { url } of [nodes[0], nodes[2]]) {
        assert.equal((await ask('POST', `${url}/testhub?id=${encodeURIComponent(token)}`, undefined, '{}')).status, 404);
      }
    }
    await Promise.all([call, ...asked]);
    await client.reconnected.next();
    assert.notEqual(await client.invoke('Id'), id);
    assert.notEqual(await client.invoke('Node'), 'node1');
    for (const node of [nodes[0], nodes[2]]) await until(async () => (await statusOf(node)).MembersUp === 1, `that ${node.name} knows it`);
    for (const other of others) await assert.rejects(other.invoke('AskClient', id, 'who?'), failed('AskClient', ` Error: Connection '${id}' does not exist.`));
    for (const [i, one] of clients.entries()) await one.invoke('ToAll', `${i}`);
    client.id = await client.invoke('Id');
    assert.deepEqual(await delivered(...clients), Array(3).fill(['0', '1', '2']));
    assert.deepEqual(await Promise.all(upTo(10).map(i => client.invoke('Echo', `${i}`))), upTo(10).map(String));
  });

  test('a node is told to end', async t => {
    const { nodes, clients } = await connectAll(t, [1, 0, 2]), [client, ...others] = clients, { id } = client;
    await leaveOut(nodes[1], clients);
    const ended = nodes[1].stop('SIGTERM');
    await client.reconnected.next();
    assert.notEqual(await client.invoke('Node'), 'node1');
    assert.equal(await ended, 0);
    for (const node of [nodes[0], nodes[2]]) await until(async () => (await statusOf(node)).MembersUp === 1, `that ${node.name} knows it`);
    for (const [i, one] of clients.entries()) await one.invoke('ToAll', `${i}`);
    client.id = await client.invoke('Id');
    assert.notEqual(client.id, id);
    assert.deepEqual(await delivered(...clients), Array(3).fill(['0', '1', '2']));
    assert.ok(others.every(({ closes, reconnecting }) => !closes.size && !reconnecting.size));
  });
});
