// How clients and servers agree on a transport, and what each transport has to bear.
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { HttpTransportType } from '@microsoft/signalr';
import { reference, startServer } from '../server.mjs';
import { againstServer, connect, cutOff, fateOf, idsOf, json, messagePack, newClient, noMessagePack, until, upTo, within } from './client.mjs';

/** Where nothing gets through: stands for WebSocket and for EventSource. */
class Blocked {
  constructor() { setImmediate(() => (this.onclose ?? this.onerror)({})); }
  close() {}
}

/** A proxy on the way to a port, which can cut what goes through it. */
async function startProxy(t, port) {
  const pairs = new Set();
  const proxy = net.createServer(client => {
    const server = net.connect(port, '127.0.0.1');
    const pair = { client, server, request: '' };
    pairs.add(pair);
    client.on('data', data => { pair.request = data.toString('latin1'); server.write(data); });
    server.on('data', data => { pair.request = ''; client.write(data); });
    pair.cut = () => { client.destroy(); server.destroy(); pairs.delete(pair); };
    for (const socket of [client, server]) socket.on('error', pair.cut).on('close', pair.cut);
  });
  const cut = () => { for (const pair of pairs) pair.cut(); };
  await new Promise(listening => proxy.listen(0, '127.0.0.1', listening));
  t.after(() => new Promise(closed => { proxy.close(closed); cut(); }));
  return {
    url: `http://127.0.0.1:${proxy.address().port}`,
    cut,
    /** Whether a request by this method is on its way, or waits for its answer. */
    busy: method => [...pairs].some(({ request }) => request.startsWith(`${method} `)),
  };
}

describe('the choice of a transport', () => {
  let server;
  before(async () => { server = await startServer(); });
  after(() => server?.stop());
  const transportOf = async (t, way, path, options) => (await connect(t, way, server.url + path, options)).invoke('GetActiveTransportName');

  test('WebSockets are preferred', async t => {
    assert.equal(await transportOf(t, json, '/testhub'), 'WebSockets');
  });

  test('an endpoint without WebSockets', async t => {
    assert.equal(await transportOf(t, json, '/testhub-nowebsockets'), 'ServerSentEvents');
  });

  test('an endpoint without WebSockets, for MessagePack', { skip: noMessagePack }, async t => {
    assert.equal(await transportOf(t, messagePack, '/testhub-nowebsockets'), 'LongPolling');
  });

  test('WebSockets do not get through', async t => {
    assert.equal(await transportOf(t, json, '/testhub', { WebSocket: Blocked }), 'ServerSentEvents');
  });

  test('nothing but requests gets through', async t => {
    assert.equal(await transportOf(t, json, '/testhub', { WebSocket: Blocked, EventSource: Blocked }), 'LongPolling');
  });

  test('what the client allows', async t => {
    const { WebSockets, ServerSentEvents, LongPolling } = HttpTransportType;
    for (const [path, transport, name] of [
      ['/testhub', ServerSentEvents | LongPolling, 'ServerSentEvents'],
      ['/testhub', WebSockets | LongPolling, 'WebSockets'],
      ['/testhub-nowebsockets', WebSockets | LongPolling, 'LongPolling'],
    ]) assert.equal(await transportOf(t, json, path, { transport }), name);
  });

  test('nothing in common', async t => {
    const none = 'Unable to connect to the server with any of the available transports.';
    await assert.rejects(transportOf(t, json, '/testhub-nowebsockets', { transport: HttpTransportType.WebSockets }), { message:
      `${none} ServerSentEvents failed: Error: 'ServerSentEvents' is disabled by the client. LongPolling failed: Error: 'LongPolling' is disabled by the client.` });
    await assert.rejects(transportOf(t, messagePack, '/testhub', { transport: HttpTransportType.ServerSentEvents }), { message:
      `${none} WebSockets failed: Error: 'WebSockets' is disabled by the client. ServerSentEvents failed: Error: 'ServerSentEvents' does not support Binary. ` +
      `LongPolling failed: Error: 'LongPolling' is disabled by the client.` });
  });

  test('WebSockets where they are not offered, without negotiation', async t => {
    const options = { transport: HttpTransportType.WebSockets, skipNegotiation: true };
    await assert.rejects(transportOf(t, json, '/testhub-nowebsockets', options), /^Error: WebSocket failed to connect\. /);
  });

  test('no hub there', async t => {
    await assert.rejects(transportOf(t, json, '/nothing'), /Status code '404' Either this is not a SignalR endpoint or there is a proxy blocking the connection\./);
  });

  test('clients over different transports', async t => {
    const clients = await Promise.all([
      connect(t, json, `${server.url}/testhub`, { transport: HttpTransportType.WebSockets }),
      connect(t, json, `${server.url}/testhub-nowebsockets`, { transport: HttpTransportType.ServerSentEvents }),
      connect(t, json, `${server.url}/testhub-nowebsockets`, { transport: HttpTransportType.LongPolling }),
    ]);
    for (const client of clients) {
      await client.invoke('ToAll', 'hello');
      for (const { messages } of clients) assert.equal(await messages.next(), 'hello');
    }
    const ids = await idsOf(...clients);
    clients.forEach((client, i) => client.connection.on('Ask', question => `${question} ${i}`));
    assert.deepEqual(await Promise.all(ids.map((id, i) => clients[(i + 1) % 3].invoke('AskClient', id, 'Who?'))), ['Who? 0', 'Who? 1', 'Who? 2']);
  });

  test('10,000 messages to a group reach each member in order, over every transport', async t => {
    const { WebSockets, ServerSentEvents, LongPolling } = HttpTransportType;
    const members = await Promise.all([
      [json, WebSockets], [json, ServerSentEvents], [json, LongPolling], ...(reference ? [] : [[messagePack, WebSockets], [messagePack, LongPolling]]),
    ].map(([protocol, transport]) => connect(t, protocol, `${server.url}/bench`, { transport })));
    const inboxes = members.map(member => member.callback('Receive'));
    for (const member of members) await member.invoke('Join', 'group');
    // This hub runs one call of a client after the other.
    const sender = await connect(t, json, `${server.url}/bench`);
    // A thousand at a time: the server does not keep everything for a client that a busy machine makes slow.
    for (let thousand = 0; thousand < 10; thousand++) {
      const expected = upTo(1000).map(i => [thousand * 1000 + i, 'hello']);
      await within(Promise.all(expected.map(args => sender.connection.send('SendGroup', 'group', ...args))), 'sending');
      for (const inbox of inboxes) assert.deepEqual(await inbox.take(1000), expected);
    }
    assert.equal(await sender.invoke('Echo', 'all were sent'), 'all were sent');
    for (const inbox of inboxes) assert.equal(inbox.size, 0);
  });
});

againstServer([], server => {
  const { way, connect, connectAll } = server;

  test('the name of the transport', async t => {
    const client = await connect(t);
    assert.equal(await client.invoke('GetActiveTransportName'), way.transport);
  });

  test('options of the client', async t => {
    const client = await connect(t, '/testhub', { withCredentials: false, headers: { Authorization: 'Bearer alice', Cookie: 'one=1' } });
    assert.equal(await client.invoke('UserId'), 'alice');
    assert.equal(await client.invoke('GetCookie', 'one'), '1');
  });

  test('tokens', async t => {
    let name = 'alice';
    const client = await connect(t, '/testhub', { accessTokenFactory: () => Promise.resolve(`${name}:admin`) });
    assert.equal(await client.invoke('UserId'), 'alice');
    await client.stop();
    name = 'bob & co';
    await client.start();
    assert.equal(await client.invoke('UserId'), 'bob & co');
  });

  if (!way.options.skipNegotiation) {
    test('somebody else negotiates', async t => {
      const asked = [];
      const elsewhere = http.createServer((request, response) => {
        asked.push(`${request.method} ${request.url} ${request.headers.authorization}`);
        response.end(JSON.stringify({ url: `${server.url}/testhub?Key=value`, accessToken: 'alice' }));
      });
      await new Promise(listening => elsewhere.listen(0, '127.0.0.1', listening));
      t.after(() => new Promise(closed => { elsewhere.close(closed); elsewhere.closeAllConnections(); }));
      const client = newClient(t, way, `http://127.0.0.1:${elsewhere.address().port}/hub?one=1`, { accessTokenFactory: () => 'bob', retryDelay: 0 });
      await client.start();
      assert.equal(await client.invoke('UserId'), 'alice');
      assert.equal(await client.invoke('Query', 'key'), 'value');
      assert.equal(await client.invoke('Query', 'one'), null);
      assert.equal(client.connection.connectionId, await client.invoke('Id'));
      // A new connection starts from the beginning.
      await client.send('Echo', 'x'.repeat(32_768));
      await client.reconnected.next();
      assert.equal(await client.invoke('UserId'), 'alice');
      assert.deepEqual(asked, Array(2).fill('POST /hub/negotiate?one=1&negotiateVersion=1 Bearer bob'));
    });
  }

  test('large messages to clients', async t => {
    const clients = await connectAll(t, 2, '/bench');
    const inboxes = clients.map(client => client.callback('Receive'));
    const response = await fetch(`${server.url}/bench/broadcast?n=3&bytes=1000000`, { method: 'POST' });
    assert.equal(await response.text(), '3');
    for (const inbox of inboxes) {
      for (const [i, text] of await inbox.take(3)) assert.ok(text === 'x'.repeat(1_000_000), `message ${i} of ${text.length} bytes`);
    }
  });

  test('large bodies to the server', async t => {
    const client = await connect(t, '/bench');
    // The client sends together what has piled up while it sent.
    const texts = upTo(30).map(i => String.fromCharCode(97 + i % 26).repeat(20_000));
    assert.deepEqual(await Promise.all(texts.map(text => client.invoke('Echo', text))), texts);
  });

  test('the connection is cut', async t => {
    const proxy = await startProxy(t, server.port);
    const client = newClient(t, way, `${proxy.url}/testhub`, { retryDelay: 0 });
    await client.start();
    const witness = await connect(t);
    const [cut] = await idsOf(client);
    const pending = assert.rejects(client.invoke('Slow', 600_000), cutOff(way));
    assert.equal(await client.invoke('Echo', 'the call before is on its way'), 'the call before is on its way');
    await until(() => !proxy.busy('POST'), 'the end of sending');
    if (way.transport === 'LongPolling') await until(() => proxy.busy('GET'), 'a poll');
    proxy.cut();
    assert.equal((await client.reconnecting.next())?.message, way.cut);
    await pending;
    await client.reconnected.next();
    assert.notEqual(await client.invoke('Id'), cut);
    assert.equal(await client.invoke('Echo', 'goes on'), 'goes on');
    assert.equal(client.closes.size, 0);
    // That nobody polls any more shows only after 15 seconds.
    assert.equal(await fateOf(cut, witness), 'closed');
  });

  test('the client stops while nothing happens', async t => {
    const proxy = await startProxy(t, server.port);
    const client = newClient(t, way, `${proxy.url}/testhub`);
    await client.start();
    const witness = await connect(t);
    const [id] = await idsOf(client);
    if (way.transport === 'LongPolling') await until(() => proxy.busy('GET'), 'a poll');
    await client.stop();
    assert.equal(await client.closes.next(), undefined);
    assert.equal(await fateOf(id, witness), 'closed');
  });
});

describe('polling by hand', () => {
  let server;
  before(async () => { server = await startServer(); });
  after(() => server?.stop());

  const request = (url, method = 'GET', body = undefined) => within(fetch(url, { method, body }), `${method} ${url}`);

  /** The URL of a connection that has been negotiated, and whose first poll has been answered. */
  async function negotiated() {
    const { connectionId, connectionToken } = await (await request(`${server.url}/testhub/negotiate?negotiateVersion=1`, 'POST')).json();
    const url = `${server.url}/testhub?id=${connectionToken}`;
    const first = await request(url);
    assert.equal(first.status, 200);
    assert.equal(await first.text(), '');
    return { url, connectionId };
  }

  /** The same after the handshake. */
  async function polled() {
    const { url, connectionId } = await negotiated();
    assert.equal((await request(url, 'POST', '{"protocol":"json","version":1}\u001e')).status, 200);
    assert.equal(await (await request(url)).text(), '{}\u001e');
    return { url, connectionId };
  }

  // The Java client's stop() waits for this.
  test('DELETE ends a poll that waits', async t => {
    const witness = await connect(t, json, `${server.url}/testhub`);
    const { url, connectionId } = await polled();
    // One poll takes the place of the other: when that is over, one waits.
    const polls = [request(url), request(url)];
    assert.equal((await Promise.race(polls)).status, 204);
    assert.equal((await request(url, 'DELETE')).status, 202);
    const answers = await Promise.all(polls);
    const answer = answers.find(({ status }) => status === 200) ?? answers[1];
    assert.ok([200, 204].includes(answer.status), `status ${answer.status}`);
    if (answer.status === 200) assert.equal(await answer.text(), '{"type":7,"allowReconnect":true}\u001e');
    assert.equal(await fateOf(connectionId, witness), 'closed');
    assert.equal((await request(url)).status, 404);
  });

  test('a poll takes the place of another', async t => {
    const { url } = await polled();
    const first = request(url);
    const second = request(url); // or the other way round: they are on different sockets
    assert.equal((await Promise.race([first, second])).status, 204);
    assert.equal((await request(url, 'POST', '{"type":1,"invocationId":"1","target":"Echo","arguments":["hello"]}\u001e')).status, 200);
    const answers = await Promise.all([first, second]);
    const answered = answers.find(({ status }) => status === 200);
    assert.equal(await answered.text(), '{"type":3,"invocationId":"1","result":"hello"}\u001e');
    await request(url, 'DELETE');
  });

  test('what comes between polls waits for the next one', async t => {
    const { url } = await polled();
    const witness = await connect(t, json, `${server.url}/testhub`);
    for (const text of ['one', 'two', 'three']) await witness.invoke('ToAll', text);
    let received = '';
    while (received.split('\u001e').length <= 3) received += await (await request(url)).text();
    assert.deepEqual(received.split('\u001e').filter(Boolean).map(JSON.parse), ['one', 'two', 'three'].map(text => ({ type: 1, target: 'Message', arguments: [text] })));
    await request(url, 'DELETE');
  });
});
