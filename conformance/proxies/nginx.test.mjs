// Clients behind nginx, configured as docs/proxies.md says, and as it warns.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { DefaultHttpClient, HttpTransportType, JsonHubProtocol, MessageType, NullLogger } from '@microsoft/signalr';
import { build, freePort, startServer } from '../server.mjs';
import { json, newClient, until, within } from '../node/client.mjs';
import { startNginx } from './proxies.mjs';
import { everyWayThrough, nodesThrough, overHTTP1, overHTTP2, pageGets, poll, readEvents, upgrade } from './suite.mjs';

const { WebSockets, ServerSentEvents, LongPolling } = HttpTransportType;
const over = transport => ({ ...json, options: { transport } });
const hostLine = 'proxy_set_header Host $http_host;';
const lastLine = 'client_max_body_size 16m;';
const timeout = value => ['proxy_read_timeout 100s;', `proxy_read_timeout ${value};`];

/** A server and nginx before it, for one test. */
async function behindNginx(t, flags, options) {
  const server = await startServer(flags);
  t.after(() => server.stop());
  const proxy = await startNginx(server, options);
  t.after(() => proxy.stop());
  return proxy;
}

everyWayThrough('nginx', server => startNginx(server, { tls: false }));
everyWayThrough('nginx over TLS', server => startNginx(server));
everyWayThrough('nginx that is told to buffer', server => startNginx(server, { tls: false, changes: [[lastLine, `${lastLine} proxy_buffering on;`]] }));
nodesThrough('nginx', server => startNginx(server, { tls: false }));

describe('requests over HTTP/2', () => {
  let server, proxy;
  before(async () => {
    server = await startServer();
    proxy = await startNginx(server);
  });
  after(() => Promise.all([proxy?.stop(), server?.stop()]));

  test('event streams', async t => { await readEvents(await overHTTP2(t, proxy.url)); });
  test('polls', async t => { await poll(await overHTTP2(t, proxy.url)); });
});

describe('nginx that compresses', () => {
  const gzip = [[lastLine, `${lastLine} gzip on; gzip_min_length 0; gzip_types text/event-stream application/json application/octet-stream text/plain;`]];

  test('event streams', async t => { await readEvents(await overHTTP1(t, (await behindNginx(t, [], { tls: false, changes: gzip })).url)); });
  test('event streams over HTTP/2', async t => { await readEvents(await overHTTP2(t, (await behindNginx(t, [], { changes: gzip })).url)); });
  test('polls', async t => { await poll(await overHTTP1(t, (await behindNginx(t, [], { tls: false, changes: gzip })).url)); });
});

describe('a page', () => {
  const wrongHost = [[hostLine, '']];

  test('of the same origin', async t => {
    const { url } = await behindNginx(t, ['-origins', ''], { tls: false });
    await pageGets(t, `${url}/testhub`, url, 'WebSockets');
    assert.equal((await upgrade(`${url}/testhub`, { Origin: url })).status, 101);
    assert.equal((await upgrade(`${url}/testhub`, { Origin: 'https://evil.example' })).status, 403);
  });

  test('of the same origin, over TLS', async t => {
    const { url } = await behindNginx(t, ['-origins', '']);
    await pageGets(t, `${url}/testhub`, url, 'WebSockets');
  });

  test('of the same origin, where nginx sends a Host of its own: the answer says what is wrong', async t => {
    const { url } = await behindNginx(t, ['-origins', ''], { tls: false, changes: wrongHost });
    const { status, body } = await upgrade(`${url}/testhub`, { Origin: url });
    assert.equal(status, 403);
    for (const what of [url, /\btroupe\b/, /\bHost\b/, /\bAllowedOrigins\b/]) {
      assert.ok(typeof what === 'string' ? body.includes(what) : what.test(body), `${what} is not in: ${body}`);
    }
    await pageGets(t, `${url}/testhub`, url, 'ServerSentEvents');
  });

  test('where nginx sends a Host of its own, and the origin is allowed', async t => {
    const port = await freePort(), url = `http://127.0.0.1:${port}`;
    await behindNginx(t, ['-origins', url], { tls: false, port, changes: wrongHost });
    await pageGets(t, `${url}/testhub`, url, 'WebSockets');
  });

  test('where nginx passes Host without its port', async t => {
    const { url } = await behindNginx(t, ['-origins', ''], { tls: false, changes: [[hostLine, 'proxy_set_header Host $host;']] });
    assert.equal((await upgrade(`${url}/testhub`, { Host: 'app.example', Origin: 'https://app.example' })).status, 101, 'on the default port');
    assert.equal((await upgrade(`${url}/testhub`, { Host: 'app.example:8443', Origin: 'https://app.example:8443' })).status, 403, 'on another port');
  });

  test('where nginx passes no upgrades', async t => {
    const { url } = await behindNginx(t, ['-origins', ''], { tls: false, changes: [['proxy_set_header Upgrade $http_upgrade;', ''], ['proxy_set_header Connection $connection_upgrade;', '']] });
    await pageGets(t, `${url}/testhub`, url, 'ServerSentEvents');
  });

  test('that is refused is logged once', async t => {
    const port = await freePort(), control = await freePort();
    const child = spawn(build('conformance/testserver'), ['-addr', `127.0.0.1:${port}`, '-ctrl', `127.0.0.1:${control}`, '-origins', '', '-v'], { stdio: ['ignore', 'ignore', 'pipe'] });
    t.after(() => new Promise(exited => { child.once('exit', exited); child.kill('SIGKILL'); }));
    let log = '';
    child.stderr.setEncoding('utf8').on('data', text => { log += text; });
    await until(() => fetch(`http://127.0.0.1:${control}/pid`).then(() => fetch(`http://127.0.0.1:${port}/pid`)).then(() => true, () => false), 'the server');
    const { url, stop } = await startNginx({ port }, { tls: false, changes: wrongHost });
    t.after(() => stop());
    const refusals = origin => log.split('\n').filter(line => line.includes('its origin is not allowed') && line.includes(`origin=${origin}`));
    for (const origin of [url, url, 'https://other.example']) assert.equal((await upgrade(`${url}/testhub`, { Origin: origin })).status, 403);
    await until(() => refusals('https://other.example').length, 'the log');
    const lines = refusals(url);
    assert.equal(lines.length, 1, lines.join('\n'));
    for (const what of ['level=WARN', 'host=troupe', 'path=/testhub']) assert.ok(lines[0].includes(what), `${what} is not in: ${lines[0]}`);
  });
});

describe('silence', () => {
  /** Counts the polls that were answered with nothing. */
  class Counting extends DefaultHttpClient {
    idle = 0;
    constructor() { super(NullLogger.instance); }
    async send(request) {
      const answer = await super.send(request);
      if (request.method === 'GET' && answer.statusCode === 200 && !answer.content) this.idle++;
      return answer;
    }
  }

  test('polls that end before nginx gives up', async t => {
    const { url } = await behindNginx(t, ['-poll-timeout', '300ms'], { tls: false, changes: [timeout('10s')] });
    const httpClient = new Counting();
    const client = newClient(t, over(LongPolling), `${url}/testhub`, { httpClient });
    await client.start();
    await until(() => httpClient.idle > 5, 'polls without anything');
    assert.equal(await client.invoke('Echo', 'still here'), 'still here');
    assert.equal(client.closes.size, 0);
  });

  // What nginx has to wait for here is longer, and a server that has other things to do has enough for whatever comes before.
  const impatient = timeout('5s');

  test('polls for which nginx does not wait', async t => {
    const { url } = await behindNginx(t, [], { tls: false, changes: [impatient] });
    const client = newClient(t, over(LongPolling), `${url}/testhub`);
    await client.start();
    const [error] = await client.closes.take(1);
    assert.match(`${error}`, /504|Gateway Time-out/);
  });

  for (const [name, transport] of [['WebSockets', WebSockets], ['event streams', ServerSentEvents]]) {
    test(`${name} with pings before nginx gives up`, async t => {
      const { url } = await behindNginx(t, ['-keep-alive', '1s'], { tls: false, changes: [timeout('8s')] });
      const protocol = new JsonHubProtocol(), parse = protocol.parseMessages;
      let pings = 0;
      protocol.parseMessages = (...input) => {
        const messages = parse.apply(protocol, input);
        pings += messages.filter(({ type }) => type === MessageType.Ping).length;
        return messages;
      };
      const client = newClient(t, over(transport), `${url}/testhub`, { protocol });
      client.connection.keepAliveIntervalInMilliseconds = 600_000; // the client is silent
      const started = performance.now();
      await client.start();
      // More than one timeout has to pass, and each ping shows that the connection is still there.
      await until(() => pings > 3 && performance.now() - started > 9_000, 'pings');
      assert.equal(await client.invoke('Echo', 'still here'), 'still here');
      assert.equal(client.closes.size, 0);
    });

    test(`${name} with pings after nginx has given up`, async t => {
      const { url } = await behindNginx(t, [], { tls: false, changes: [impatient] });
      const client = newClient(t, over(transport), `${url}/testhub`);
      await client.start();
      await within(client.closes.next(), 'the end');
    });
  }
});
