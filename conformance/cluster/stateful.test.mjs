// Stateful reconnect where each WebSocket reaches another node than the one before: the node that has the connection is told.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { HttpTransportType } from '@microsoft/signalr';
import { json, messagePack, upTo } from '../node/client.mjs';
import { Cutter, exchange, waysToCut } from '../node/cutter.mjs';
import { connectTo } from './client.mjs';
import { startNodes, stopNodes } from './nodes.mjs';

for (const way of [{ name: 'JSON', ...json }, { name: 'MessagePack', ...messagePack }]) {
  way.options = { transport: HttpTransportType.WebSockets };
  describe(way.name, () => {
    let nodes;
    before(async () => { nodes = await startNodes(); });
    after(() => stopNodes(nodes));

    /** A client of nodes[1] behind something that cuts, and one of each node that is not. */
    async function connectAll(t, options) {
      let cutter;
      const front = balancer => (cutter = new Cutter(balancer.port)).listen(t);
      const client = await connectTo(t, way, nodes, 1, { stateful: true, front, ...options });
      const witnesses = await Promise.all(nodes.map((_, i) => connectTo(t, way, nodes, i)));
      return { client, cutter, witnesses };
    }

    /** That nobody has noticed anything, and that the WebSockets have been opened at one node after the other. */
    async function assertSame({ client, witnesses, cutter }) {
      assert.equal(await client.invoke('Id'), client.id);
      assert.equal(client.connection.connectionId, client.id);
      assert.equal(await client.invoke('Node'), 'node1');
      assert.equal(await witnesses[1].invoke('Fate', client.id), null);
      assert.equal(client.closes.size + client.reconnecting.size, 0);
      assert.deepEqual(new Set(cutter.statuses), new Set([101]));
      assert.deepEqual(client.balancer.requests.map(({ node }) => node.name), upTo(1 + cutter.statuses.length).map(i => `node${i % 3}`));
    }

    test('3000 messages of each side, and 12 cuts', async t => {
      const all = await connectAll(t);
      await exchange(all, 3000, 12);
      await assertSame(all);
    });

    for (const how of waysToCut) {
      test(`the connection is cut ${how}, and stays what it was`, async t => {
        const all = await connectAll(t), { client, cutter, witnesses } = all;
        await client.invoke('Join', 'group');
        client.connection.on('Ask', question => `${question}!`);
        for (const i of upTo(6)) {
          assert.equal(await client.invoke('Count'), i + 1);
          const cut = cutter.cutAfter(1, 'server', how);
          await witnesses[i % 3].invoke('ToGroup', 'group', `${i}`);
          await cut;
          assert.equal(await witnesses[(i + 1) % 3].invoke('AskClient', client.id, `${i}`), `${i}!`);
          assert.equal(await client.messages.next(), `${i}`);
        }
        await assertSame(all);
      });
    }

    test('a client that cannot come back reconnects at another node', async t => {
      const { client, cutter, witnesses } = await connectAll(t, { retryDelay: 50 }), { id } = client;
      await client.invoke('Join', 'group');
      cutter.refuse();
      await client.reconnecting.next();
      cutter.accept();
      assert.notEqual(await client.reconnected.next(), id);
      await witnesses[0].invoke('ToGroup', 'group', 'to the former connection alone');
      await client.invoke('ToCaller', 'the end');
      assert.deepEqual(await client.messages.upTo('the end'), []);
    });
  });
}
