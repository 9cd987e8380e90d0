// What has to work through every proxy.
import assert from 'node:assert/strict';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { after, before, describe, test } from 'node:test';
import { createGunzip } from 'node:zlib';
import { HttpTransportType, Subject } from '@microsoft/signalr';
import { freePort, startServer } from '../server.mjs';
import { connect, fateOf, idsOf, json, newClient, overEveryWay, until, within } from '../node/client.mjs';
import { certificate } from './proxies.mjs';

// The official client takes no certificate authority. Where it matters that a certificate is checked, the tests do it themselves.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
const warn = process.emitWarning;
process.emitWarning = (warning, ...rest) => { if (!`${warning}`.includes('NODE_TLS_REJECT_UNAUTHORIZED')) warn(warning, ...rest); };

const separator = '\x1e';

/** Three nodes that know each other. */
async function startNodes(t) {
  const first = await freePort(18), addresses = [0, 6, 12].map(ports => `127.0.0.1:${first + ports}`), nodes = [];
  for (const address of addresses) {
    const node = await startServer(['-node', `node${nodes.length}`, '-cluster', address, '-join', addresses[0]]);
    t.after(() => node.stop());
    nodes.push(node);
  }
  for (const { control } of nodes) await until(async () => (await (await fetch(`${control}/cluster`)).json()).MembersUp === 2, 'the other nodes');
  return nodes;
}

/** What clients do through a proxy before three nodes: each reaches all, and those whose node is killed come back on another one. */
export function nodesThrough(name, startProxy) {
  describe(`${name} before three nodes`, () => {
    for (const transport of ['WebSockets', 'ServerSentEvents', 'LongPolling']) {
      test(transport, async t => {
        const nodes = await startNodes(t), proxy = await startProxy({ nodes });
        t.after(() => proxy.stop());
        const way = { ...json, options: { transport: HttpTransportType[transport] } }, clients = [];
        for (let i = 0; i < 6; i++) clients.push(await connect(t, way, `${proxy.url}/testhub`, { retryDelay: 50 }));
        const toAll = async text => {
          for (const from of clients) {
            await from.invoke('ToAll', text);
            for (const client of clients) assert.equal(await client.messages.next(), text);
          }
        };
        await toAll('before');
        const ids = await idsOf(...clients);
        await nodes[1].stop('SIGKILL');
        for (const client of clients) await until(() => client.invoke('Echo', 'here').then(() => true, () => false), 'a client to come back');
        assert.notDeepEqual(await idsOf(...clients), ids, 'nobody was on the node that was killed');
        await toAll('after');
      });
    }
  });
}

/** Runs, over every way to connect, what clients do most, through the proxy that startProxy starts before a server. */
export function everyWayThrough(name, startProxy) {
  describe(name, () => {
    let server, proxy;
    before(async () => {
      server = await startServer();
      proxy = await startProxy(server);
    });
    after(() => Promise.all([proxy?.stop(), server?.stop()]));

    overEveryWay(way => {
      const client = t => connect(t, way, `${proxy.url}/testhub`);

      test('calls, large ones too', async t => {
        const caller = await client(t);
        assert.equal(await caller.invoke('GetActiveTransportName'), way.transport);
        for (const text of ['hello', 'x'.repeat(30_000), 'é 漢字 😀']) assert.equal(await caller.invoke('Echo', text), text);
        await assert.rejects(caller.invoke('ThrowHubException', 'no'), /HubException: no/);
      });

      test('a message comes while nothing else does', async t => {
        const [one, other] = await Promise.all([client(t), client(t)]);
        const [id] = await idsOf(one);
        for (let i = 0; i < 5; i++) {
          await other.invoke('ToClients', [id], `message ${i}`);
          assert.equal(await one.messages.next(), `message ${i}`);
        }
      });

      test('streams both ways', async t => {
        const caller = await client(t);
        assert.deepEqual(await caller.streamed('Counter', 5, 1), [0, 1, 2, 3, 4]);
        const endless = caller.stream('InfiniteStream');
        assert.deepEqual(await endless.items.take(3), [0, 1, 2]);
        endless.dispose();
        const texts = new Subject();
        const echoes = caller.stream('StreamEcho', texts);
        for (const text of ['one', 'two']) {
          texts.next(text);
          assert.equal(await echoes.items.next(), `echo:${text}`);
        }
        texts.complete();
        await echoes.end();
      });

      test('a client sends much at once', async t => {
        const caller = await client(t);
        const texts = Array.from({ length: 100 }, (_, i) => `${i}`.padEnd(20_000, '.'));
        assert.deepEqual(await within(Promise.all(texts.map(text => caller.connection.invoke('Echo', text))), 'the echoes'), texts);
      });

      test('either side ends the connection', async t => {
        const [caller, witness, other] = await Promise.all([client(t), client(t), client(t)]);
        const [id] = await idsOf(caller);
        await caller.stop();
        assert.equal(await fateOf(id, witness), 'closed');
        await assert.rejects(other.invoke('Abort'));
        await other.closes.next();
      });
    });
  });
}

/** Fails unless a client that starts as a page of origin does gets this transport. */
export async function pageGets(t, url, origin, transport, options = {}) {
  const client = newClient(t, json, url, { headers: { Origin: origin }, ...options });
  await client.start();
  assert.equal(await client.invoke('GetActiveTransportName'), transport);
}

/** The answer to a request for a WebSocket as a browser's page makes it. */
export function upgrade(url, headers = {}) {
  const { request } = url.startsWith('https') ? https : http;
  return within(new Promise((resolve, reject) => {
    const asked = request(url, { headers: { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'AAECAwQFBgcICQoLDA0ODw==', ...headers } });
    asked.on('upgrade', (answer, socket) => { socket.destroy(); resolve({ status: answer.statusCode, body: '' }); });
    asked.on('response', async answer => {
      let body = '';
      for await (const piece of answer.setEncoding('utf8')) body += piece;
      resolve({ status: answer.statusCode, body });
    });
    asked.on('error', reject);
    asked.end();
  }), 'the answer to an upgrade');
}

/** Makes requests over HTTP/2, with a certificate that is checked. */
export async function overHTTP2(t, url) {
  const session = http2.connect(url, { ca: certificate().text, rejectUnauthorized: true });
  t.after(() => session.destroy());
  await within(new Promise((connected, failed) => session.once('connect', connected).once('error', failed)), 'HTTP/2');
  return async (method, path, headers = {}, body) => {
    const stream = session.request({ ':method': method, ':path': path, ...headers });
    stream.end(body);
    const answer = await within(new Promise((resolve, reject) => stream.once('response', resolve).once('error', reject)), `${method} ${path}`);
    return { status: answer[':status'], headers: answer, body: stream };
  };
}

/** Makes requests over HTTP/1.1. */
export async function overHTTP1(t, url) {
  const { request } = url.startsWith('https') ? https : http;
  return (method, path, headers = {}, body) => within(new Promise((resolve, reject) => {
    const asked = request(url + path, { method, headers }).on('error', reject).on('response', answer => {
      resolve({ status: answer.statusCode, headers: answer.headers, body: answer });
    });
    t.after(() => asked.destroy());
    asked.end(body);
  }), `${method} ${path}`);
}

async function textOf({ status, headers, body }) {
  assert.equal(status, 200);
  const decoded = headers['content-encoding'] === 'gzip' ? body.pipe(createGunzip()) : body;
  let text = '';
  for await (const piece of decoded.setEncoding('utf8')) text += piece;
  return text;
}

async function negotiated(ask) {
  const { connectionToken } = JSON.parse(await textOf(await ask('POST', '/testhub/negotiate?negotiateVersion=1')));
  return `/testhub?id=${connectionToken}`;
}

const greeting = `{"protocol":"json","version":1}${separator}`;
const echo = (id, text) => JSON.stringify({ type: 1, invocationId: `${id}`, target: 'Echo', arguments: [text] }) + separator;
const echoed = (id, text) => ({ type: 3, invocationId: `${id}`, result: text });

/** Reads an event stream: each event before the next is caused. Returns how it was encoded. */
export async function readEvents(ask) {
  const path = await negotiated(ask);
  const answer = await ask('GET', path, { accept: 'text/event-stream', 'accept-encoding': 'gzip' });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers['content-type'], 'text/event-stream');
  const encoding = answer.headers['content-encoding'] ?? 'identity';
  assert.ok(['gzip', 'identity'].includes(encoding), encoding);
  const events = (encoding === 'gzip' ? answer.body.pipe(createGunzip()) : answer.body).setEncoding('utf8')[Symbol.asyncIterator]();
  let text = '';
  const next = async end => {
    for (let at; ;) {
      if ((at = text.indexOf(end)) >= 0) {
        const found = text.slice(0, at);
        text = text.slice(at + end.length);
        return found;
      }
      const { done, value } = await within(events.next(), 'an event');
      assert.ok(!done, 'the stream has ended');
      text += value;
    }
  };
  assert.equal(await next('\r\n'), ':');
  await textOf(await ask('POST', path, {}, greeting));
  assert.equal(await next('\r\n\r\n'), `data: {}${separator}`);
  for (const [id, text] of ['hello', 'x'.repeat(20_000), 'the end'].entries()) {
    await textOf(await ask('POST', path, {}, echo(id, text)));
    for (let message; message?.type !== 3;) { // a ping may come between
      const data = await next('\r\n\r\n');
      message = JSON.parse(data.slice('data: '.length).split(separator)[0]);
      if (message.type === 3) assert.deepEqual(message, echoed(id, text));
    }
  }
  return encoding;
}

/** Polls: what is sent comes with a poll that waits for it. */
export async function poll(ask) {
  const path = await negotiated(ask);
  assert.equal(await textOf(await ask('GET', path)), '');
  await textOf(await ask('POST', path, {}, greeting));
  const next = async () => {
    for (let text; ;) if ((text = await textOf(await ask('GET', path)))) return text;
  };
  assert.equal(await next(), `{}${separator}`);
  for (const [id, text] of ['hello', 'x'.repeat(20_000)].entries()) {
    const waiting = next();
    await textOf(await ask('POST', path, {}, echo(id, text)));
    assert.deepEqual(JSON.parse((await waiting).split(separator)[0]), echoed(id, text));
  }
  assert.equal((await ask('DELETE', path)).status, 202);
}
