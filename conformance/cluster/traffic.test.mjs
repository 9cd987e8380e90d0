// Many calls, and many broadcasts that reach the clients of all nodes, while each request of a client goes to the next node.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { upTo, ways, within } from '../node/client.mjs';
import { againstNodes, connectTo } from './client.mjs';
import { startNodes, stopNodes } from './nodes.mjs';

const count = 10_000;

/** How many calls of a client are on their way at once. Those that wait while another is posted share a request. */
const atOnce = 8;

/** The results of calls, in the order in which they came. On /bench one call of a client runs at a time, so that is the order of the calls. */
async function resultsOf(calls, call) {
  const results = [];
  let next = 0;
  await Promise.all(upTo(atOnce).map(async () => {
    while (next < calls) results.push(await call(next++));
  }));
  return results;
}

againstNodes([], ({ connectAll }) => {
  test(`${count} calls, and ${count} broadcasts`, async t => {
    const clients = await connectAll(t, 3, { path: '/bench' }), each = Math.ceil(count / clients.length);
    const received = clients.map(client => client.callback('Receive'));
    const calls = clients.map(client => resultsOf(each, i => client.invoke('Echo', `${i}`)));
    const order = within(fetch(`${clients[0].node.control}/bench/broadcast?n=${count}&bytes=20`, { method: 'POST' }), 'the broadcasts');
    for (const results of await Promise.all(calls)) assert.deepEqual(results, upTo(each).map(String));
    assert.equal(await (await order).text(), `${count}`);
    for (const came of received) assert.deepEqual((await came.take(count)).map(([i]) => i), upTo(count));
    assert.ok(received.every(({ size }) => !size));
    t.diagnostic(`requests: ${clients.map(({ balancer }) => balancer.requests.length)}`);
  });
});

describe('all transports and protocols', () => {
  const broadcasts = 1000;
  let nodes;
  before(async () => { nodes = await startNodes(); });
  after(() => stopNodes(nodes));

  test(`${broadcasts} calls of each of three clients, which send to everybody`, async t => {
    const clients = (await Promise.all(ways.map(way => Promise.all(nodes.map((_, i) => connectTo(t, way, nodes, i, { path: '/bench' })))))).flat();
    const received = clients.map(client => client.callback('Receive'));
    const senders = [clients[0], clients[4], clients[clients.length - 1]]; // each at another node, and over another transport
    assert.equal(new Set(senders.map(({ node }) => node.name)).size, 3);
    await Promise.all(senders.map(sender => resultsOf(broadcasts, i => sender.invoke('Broadcast', i, sender.id))));
    for (const came of received) {
      const messages = await came.take(senders.length * broadcasts);
      for (const { id } of senders) assert.deepEqual(messages.filter(([, from]) => from === id).map(([i]) => i), upTo(broadcasts));
    }
  });
});
