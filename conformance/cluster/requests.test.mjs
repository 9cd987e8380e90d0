// Requests that reach a node which does not have the connection: it passes them on.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { HttpTransportType, Subject } from '@microsoft/signalr';
import { canceled, until, upTo } from '../node/client.mjs';
import { ask, as, negotiated, refusalOf } from '../node/tokens.mjs';
import { againstNodes } from './client.mjs';

againstNodes([], server => {
  const { way, connectTo } = server;
  const relayed = way.options.transport !== HttpTransportType.WebSockets;
  /** The token of a client's connection, as its requests have it. */
  const tokenOf = client => new URL(client.balancer.requests.at(-1).url, 'http://node').searchParams.get('id');

  test('every node gets requests, none of them two in a row', async t => {
    const client = await connectTo(t, 0);
    for (const i of upTo(20)) assert.equal(await client.invoke('Echo', `${i}`), `${i}`);
    await client.stop();
    const { requests } = client.balancer, nodes = requests.map(({ node }) => node.name);
    assert.deepEqual(nodes, nodes.map((_, i) => `node${(server.nodes.findIndex(({ name }) => name === nodes[0]) + i) % 3}`));
    if (relayed) assert.ok(requests.length > 20, `${requests.length} requests`);
  });

  test('streams of both sides at once', async t => {
    const client = await connectTo(t, 1), count = 300;
    const upload = new Subject(), numbers = new Subject();
    const { items, end } = client.stream('StreamEcho', upload);
    const sum = client.invoke('UploadSum', 1, numbers), counter = client.streamed('Counter', count, 0);
    for (const i of upTo(count)) {
      upload.next(`${i}`);
      numbers.next(i);
      if (i % 20 === 0) await until(() => items.size > i - 40, 'echoes'); // so that there are many requests
    }
    upload.complete();
    numbers.complete();
    assert.equal(await sum, 1 + count * (count - 1) / 2);
    assert.deepEqual(await counter, upTo(count));
    await end();
    assert.deepEqual(await items.take(items.size), upTo(count).map(i => `echo:${i}`));
  });

  test('a stream is given up', async t => {
    const client = await connectTo(t, 2), { items, dispose } = client.stream('InfiniteStream');
    assert.deepEqual(await items.take(3), [0, 1, 2]);
    dispose();
    await until(async () => await client.invoke('Fate', 'infinite'), 'the end of the stream');
    assert.equal(await client.invoke('Echo', 'goes on'), 'goes on');
  });

  test('an upload that fails', async t => {
    const client = await connectTo(t, 2), upload = new Subject();
    const result = assert.rejects(client.invoke('UploadStream', upload), /An unexpected error occurred invoking 'UploadStream' on the server\./);
    upload.next('a');
    upload.error(new Error('no more'));
    await result;
    assert.equal(await client.invoke('Echo', 'goes on'), 'goes on'); // behind the answer to the POST with the error
  });

  test('large messages', async t => {
    const client = await connectTo(t, 0), text = 'é'.repeat(15_000);
    assert.deepEqual(await Promise.all(upTo(10).map(i => client.invoke('Echo', `${i}${text}`))), upTo(10).map(i => `${i}${text}`));
  });

  test('the server aborts the connection', async t => {
    const client = await connectTo(t, 0);
    const call = assert.rejects(client.invoke('Slow', 600_000), canceled);
    await client.send('Abort');
    await call;
    assert.equal(await client.closes.next(), undefined);
  });

  test('who has stopped is unknown to every node', async t => {
    const client = await connectTo(t, 0);
    await client.stop();
    const token = tokenOf(client);
    for (const { url } of server.nodes) {
      await until(async () => (await ask('POST', `${url}/testhub?id=${encodeURIComponent(token)}`, undefined, '{}')).status === 404, 'the status for an unknown connection');
    }
  });

  if (relayed) {
    test('each request is made by the user of the connection', async t => {
      const client = await connectTo(t, 1, as('alice'));
      const token = encodeURIComponent(tokenOf(client));
      const methods = way.transport === 'LongPolling' ? ['POST', 'GET', 'DELETE'] : ['POST']; // who has a stream makes no others
      for (const { url } of server.nodes) {
        for (const method of methods) {
          for (const user of ['bob', undefined]) {
            assert.equal((await ask(method, `${url}/testhub?id=${token}`, user, method === 'POST' ? '{}' : undefined)).status, 403, `${method} of ${user} at ${url}`);
          }
        }
      }
      for (const i of upTo(6)) assert.equal(await client.invoke('Echo', `${i}`), `${i}`);
      assert.equal(await client.invoke('UserId'), 'alice');
      assert.equal(client.closes.size, 0);
    });
  } else {
    test('a connection is opened by the user who has negotiated it', async t => {
      const [first, second, third] = server.nodes, token = encodeURIComponent(await negotiated(`${first.url}/testhub`, 'alice'));
      for (const { url } of [second, third, first]) {
        for (const user of ['bob', undefined]) assert.equal(await refusalOf(`${url}/testhub?id=${token}`, user), 403);
      }
      await connectTo(t, 0); // nothing has gone wrong
    });
  }
});

describe('made up tokens', () => againstNodes([], server => {
  if (server.way.options.skipNegotiation || server.way.binary) return;
  test('are unknown', async () => {
    const token = await negotiated(`${server.nodes[0].url}/testhub`);
    for (const bad of ['x', token.slice(0, -4), `${token.slice(0, 24)}${'A'.repeat(token.length - 24)}`, `!${token.slice(1)}`, token.slice(0, 22)]) {
      for (const { url } of server.nodes) {
        for (const method of ['POST', 'GET', 'DELETE']) {
          const { status } = await ask(method, `${url}/testhub?id=${encodeURIComponent(bad)}`, undefined, method === 'POST' ? '{}' : undefined);
          assert.equal(status, 404, `${method} ${bad} at ${url}`);
        }
      }
    }
  });
}));
