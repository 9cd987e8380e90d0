// JSONP, which an endpoint has to allow.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { serverForAll } from './client.mjs';
import { dataFor, RawClient, request } from './raw.mjs';

const shared = serverForAll();
const at = (path, query, options) => request(shared.url + path, { query, ...options });
const script = 'application/javascript; charset=UTF-8';
const allowed = ['a', '$', '_x', 'jQuery321_1234', 'a.b.c', 'jQuery.fn.x', '\u00f1and\u00fa', 'iff', 'a.iff'];
const malformed = ['1a', 'a-b', 'a b', ' ', 'alert(1)', 'a..b', '.a', 'a.', 'if', 'a.while', 'null', 'true', 'NaN', 'undefined', 'Infinity', 'a;b', 'a[0]', '<script>', 'a\u2028', 'class', 'a.typeof'];

async function negotiated() {
  const client = new RawClient(`${shared.url}/detailed`, 'longPolling', { polls: false });
  return client.negotiate();
}

describe('refused', () => {
  test('everywhere', async t => {
    const client = new RawClient(`${shared.url}/signalr`, 'longPolling');
    await client.negotiate();
    for (const suffix of ['/negotiate', '/ping', '/start', '/send', '/connect', '/poll', '/reconnect', '/abort', '/hubs']) {
      const { status, body } = await client.request(suffix, { query: { callback: 'cb' } });
      assert.deepEqual([status, body], [403, ''], suffix);
    }
  });

  test('a callback without a name is none', async () => {
    const { status, headers } = await at('/signalr/negotiate', { clientProtocol: '2.0', callback: '' });
    assert.deepEqual([status, headers['content-type']], [200, 'application/json; charset=UTF-8']);
  });
});

describe('allowed', () => {
  for (const callback of allowed) {
    test(`callback ${callback}`, async () => {
      const { status, headers, body } = await at('/detailed/ping', { callback });
      assert.deepEqual([status, headers['content-type'], body], [200, script, `${callback}({ "Response": "pong" });`]);
    });
  }

  for (const callback of malformed) {
    test(`no callback ${JSON.stringify(callback)}`, async () => {
      const client = await negotiated();
      for (const suffix of ['/negotiate', '/ping', '/start']) assert.equal((await client.request(suffix, { query: { callback } })).status, 500, suffix);
      const { status, body } = await client.request('/connect', { query: { callback } });
      assert.ok(status >= 400, body);
      assert.ok(!body.includes(callback + '('), body);
    });
  }

  test('a connection', async () => {
    const callback = 'cb';
    const unwrapped = ({ status, headers, body }) => {
      assert.deepEqual([status, headers['content-type']], [200, script], body);
      return JSON.parse(/^cb\((.*)\);$/s.exec(body)?.[1] ?? assert.fail(body));
    };
    const { ConnectionToken: connectionToken, ProtocolVersion } = unwrapped(await at('/detailed/negotiate', { clientProtocol: '2.0', connectionData: dataFor('TestHub'), callback }));
    assert.equal(ProtocolVersion, '2.0');
    const ask = (suffix, more) => at(`/detailed${suffix}`, { transport: 'longPolling', clientProtocol: '2.0', connectionToken, connectionData: dataFor('TestHub'), callback, ...more });
    const init = unwrapped(await ask('/connect'));
    assert.equal(init.S, 1);
    assert.deepEqual(unwrapped(await ask('/start')), { Response: 'started' });
    const poll = ask('/poll', { messageId: init.C });
    const call = (M, A, I) => ask('/send', { data: JSON.stringify({ H: 'TestHub', M, A, I }) });
    assert.deepEqual(unwrapped(await call('Echo', ['a+b \u2028'], 0)), { R: 'a+b \u2028', I: '0' });
    unwrapped(await call('CallMe', ['x'], 1));
    assert.deepEqual(unwrapped(await poll).M, [{ H: 'TestHub', M: 'got', A: ['x'] }]);
  });

  test('a poll that nothing happens with has no blanks in front', async () => {
    const client = await negotiated();
    const init = (await client.request('/connect', { query: { callback: 'cb' } })).body;
    const { C } = JSON.parse(/^cb\((.*)\);$/.exec(init)[1]);
    const { body } = await client.request('/poll', { query: { callback: 'cb', messageId: C } });
    assert.match(body, /^cb\(\{.*\}\);$/);
    await client.abort();
  });
});
