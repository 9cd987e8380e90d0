// Clients behind HAProxy, configured as docs/proxies.md says.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startServer } from '../server.mjs';
import { startHAProxy } from './proxies.mjs';
import { everyWayThrough, nodesThrough, overHTTP2, pageGets, poll, readEvents, upgrade } from './suite.mjs';

everyWayThrough('HAProxy', server => startHAProxy(server, { tls: false }));
everyWayThrough('HAProxy over TLS', server => startHAProxy(server));
nodesThrough('HAProxy', server => startHAProxy(server, { tls: false }));

describe('HAProxy', () => {
  let server, proxy;
  before(async () => {
    server = await startServer(['-origins', '']);
    proxy = await startHAProxy(server);
  });
  after(() => Promise.all([proxy?.stop(), server?.stop()]));

  test('event streams over HTTP/2', async t => { await readEvents(await overHTTP2(t, proxy.url)); });
  test('polls over HTTP/2', async t => { await poll(await overHTTP2(t, proxy.url)); });

  test('pages of the same origin, and of another', async t => {
    await pageGets(t, `${proxy.url}/testhub`, proxy.url, 'WebSockets');
    assert.equal((await upgrade(`${proxy.url}/testhub`, { Origin: 'https://evil.example' })).status, 403);
  });
});
