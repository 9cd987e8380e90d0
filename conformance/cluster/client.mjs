// What the suites share: clients of a cluster, each behind a load balancer of its own.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { newClient, overEveryWay } from '../node/client.mjs';
import { startNodes, stopNodes } from './nodes.mjs';
import { RoundRobin } from './roundrobin.mjs';

/**
 * A client that is connected to nodes[i] until the end of the test. Its requests go to one node after the other; the one that opens the
 * connection is the first one behind the negotiation. balancer is its load balancer. front returns the address of what is to stand in front of that.
 */
export async function connectTo(t, way, nodes, i, { path = '/testhub', front, ...options } = {}) {
  const balancer = new RoundRobin(nodes, (i + (way.options.skipNegotiation ? 0 : nodes.length - 1)) % nodes.length);
  const address = await balancer.listen();
  const client = newClient(t, way, (front ? await front(balancer) : address) + path, options);
  t.after(() => balancer.close()); // behind the client's own end
  await client.start();
  assert.equal(await client.invoke('Node'), nodes[i].name);
  return Object.assign(client, { balancer, node: nodes[i], id: await client.invoke('Id') });
}

/** Runs the tests that define defines over each way to connect, against three nodes with these flags. */
export function againstNodes(flags, define) {
  let nodes;
  before(async () => { nodes = await startNodes(flags); });
  after(() => stopNodes(nodes));
  overEveryWay(way => define({
    way,
    get nodes() { return nodes; },
    connectTo: (t, i, options) => connectTo(t, way, nodes, i, options),
    /** A client for each name, or each number up to a count; the first ones are at different nodes. A name is that of the user. */
    connectAll: (t, users = 3, options) => Promise.all((Array.isArray(users) ? users : Array(users).fill()).map((user, i) =>
      connectTo(t, way, nodes, i % nodes.length, { ...options, ...(user ? { accessTokenFactory: () => user } : {}) }))),
  }));
}

/**
 * The messages that each client was sent by what these clients have called. A last one of each of them shows that no more will come. Those
 * of one sender come in order; in which order those of different ones come is open, so they are sorted.
 */
export async function delivered(...clients) {
  const ends = new Set(clients.map(({ id }) => `the end of ${id}`));
  await Promise.all(clients.map(client => client.invoke('ToAll', `the end of ${client.id}`)));
  return Promise.all(clients.map(async ({ messages }) => {
    const came = [];
    for (let left = ends.size; left;) {
      const message = await messages.next();
      if (ends.has(message)) left--;
      else came.push(message);
    }
    return came.sort();
  }));
}
