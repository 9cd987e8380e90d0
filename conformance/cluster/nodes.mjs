// Test servers that are the nodes of a cluster.
import { until } from '../node/client.mjs';
import { freePort, startServer } from '../server.mjs';

/** How many ports a node takes for the others. Those for UDP are not looked at, and others can take one before the node has it. */
const portsOfANode = 6, attempts = 5;

/** What a node knows of the cluster. */
export const statusOf = async ({ control }) => (await fetch(`${control}/cluster`)).json();

async function startNode(name, seeds, flags) {
  for (let attempt = 1; ; attempt++) {
    const address = `127.0.0.1:${await freePort(portsOfANode)}`;
    try {
      const server = await startServer(['-node', name, '-cluster', address, ...(seeds.length ? ['-join', seeds.join(',')] : []), ...flags]);
      return { ...server, name, address };
    } catch (error) {
      if (attempt === attempts) throw error;
    }
  }
}

/** Starts the nodes of a cluster, which know each other then. Each has a name, beside what servers have. */
export async function startNodes(flags = [], count = 3) {
  const nodes = [];
  try {
    for (let i = 0; i < count; i++) nodes.push(await startNode(`node${i}`, nodes.map(({ address }) => address), flags));
    for (const node of nodes) await until(async () => (await statusOf(node)).MembersUp === count - 1, `the other nodes at ${node.name}`);
  } catch (error) {
    await stopNodes(nodes);
    throw error;
  }
  return nodes;
}

export const stopNodes = (nodes = []) => Promise.all(nodes.map(node => node.stop()));
