// What the suites for SignalR 2 share: clients of a cluster, each in a page behind a load balancer of its own.
import { after, before } from 'node:test';
import { Client, flags, order, overEveryTransport } from '../classic/client.mjs';
import { openPage } from '../classic/page.mjs';
import { within } from '../patience.mjs';
import { startNodes, stopNodes } from './nodes.mjs';
import { RoundRobin } from './roundrobin.mjs';

/** What the client waits for before it comes back, in milliseconds. */
const reconnectDelay = 50;

/** The events that a node knows of a connection. */
export const eventsAt = async (node, id) => (await order(node, 'events', { id })).filter(entry => !entry.startsWith('module'));

/** The node that has a connection of EventHub. It has been told that it is connected. */
export async function homeOf(nodes, id) {
  for (const node of nodes) if ((await eventsAt(node, id)).length) return node;
}

/** A load balancer whose second request, which opens the connection, is for nodes[i]. */
export const balancerTo = (nodes, i) => new RoundRobin(nodes, i + nodes.length - 1);

/**
 * A client that is connected to nodes[i] until the end of the test, and what its callback "got" of TestHub has had, as client.got. front
 * returns the address of what is to stand in front of its load balancer, client.balancer.
 */
export async function connectTo(t, transport, nodes, i, { front, ...options } = {}) {
  const balancer = balancerTo(nodes, i), address = await balancer.listen();
  const page = await openPage(front ? await front(balancer) : address);
  const client = new Client(page, '/signalr', { transport, ...options });
  t.after(() => {
    client.stop();
    page.close();
    balancer.close();
  });
  client.connection.reconnectDelay = reconnectDelay;
  page.jQuery.signalR.transports.longPolling.reconnectDelay = reconnectDelay;
  client.got = client.on('got');
  const hello = client.on('hello', 'eventHub');
  await client.start();
  await hello.take(3);
  const home = await homeOf(nodes, client.id);
  if (home !== nodes[i]) throw new Error(`the connection is at ${home?.name}`);
  return Object.assign(client, { balancer, node: home });
}

/** Runs the tests that define defines over each transport, against three nodes. */
export function againstNodes(define) {
  let nodes;
  before(async () => { nodes = await startNodes(flags); });
  after(() => stopNodes(nodes));
  overEveryTransport(transport => define({
    transport,
    get nodes() { return nodes; },
    connectTo: (t, i, options) => connectTo(t, transport, nodes, i, options),
    /** Clients at different nodes; each has a query. */
    connectAll: (t, queries = [{}, {}, {}]) => Promise.all(queries.map((qs, i) => connectTo(t, transport, nodes, i % nodes.length, { qs }))),
  }));
}

/**
 * The messages that each client was sent by what these clients have called, sorted. A last one of each of them to everybody shows that no
 * more will come; those of one call may overtake those of another, so each is waited for.
 */
export async function delivered(clients, counts) {
  const came = await Promise.all(clients.map(({ got }, i) => got.take(counts[i])));
  const ends = new Set(clients.map(({ id }) => `the end of ${id}`));
  await Promise.all(clients.map(client => client.invoke('All', `the end of ${client.id}`)));
  await within(Promise.all(clients.map(async ({ got }, i) => {
    for (let left = ends.size; left;) {
      const message = await got.next();
      if (ends.has(message)) left--;
      else came[i].push(message);
    }
  })), 'the ends');
  return came.map(messages => messages.sort());
}
