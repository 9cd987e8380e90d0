// Requests that are no transport: negotiation, ping and start; what is refused, and by which words.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { serverForAll, transports } from './client.mjs';
import { connectRaw, dataFor, RawClient, request } from './raw.mjs';

const shared = serverForAll();
const at = (path, query, options) => request(shared.url + path, { query, ...options });
const negotiate = (query, path = '/signalr') => at(`${path}/negotiate`, query);
const negotiated = async (t, options) => new RawClient(`${shared.url}/signalr`, 'webSockets', options).negotiate();
const json = 'application/json; charset=UTF-8';

describe('negotiate', () => {
  const answer = (url, version) => new RegExp(
    `^\\{"Url":"${url}","ConnectionToken":"([A-Za-z0-9+/]+=*)","ConnectionId":"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})",` +
    '"KeepAliveTimeout":4\\.0,"DisconnectTimeout":6\\.0,"ConnectionTimeout":5\\.0,"TryWebSockets":true,' +
    `"ProtocolVersion":"${version}","TransportConnectTimeout":5\\.0,"LongPollDelay":0\\.0\\}$`);

  test('all ten fields', async () => {
    const { status, headers, body } = await negotiate({ clientProtocol: '2.1', connectionData: dataFor('TestHub') });
    assert.equal(status, 200);
    assert.equal(headers['content-type'], json);
    const [, token] = answer('/signalr', '2.0').exec(body) ?? assert.fail(body);
    assert.equal(token.length % 4, 0);
  });

  test('any method, and each time another connection', async () => {
    const answers = await Promise.all(['GET', 'POST', 'PUT'].map(method => at('/signalr/negotiate', { clientProtocol: '1.5' }, { method })));
    const found = answers.map(({ body }) => answer('/signalr', '1.5').exec(body) ?? assert.fail(body));
    assert.deepEqual([1, 2].map(i => new Set(found.map(match => match[i])).size), [3, 3]);
  });

  test('the address is that of the request', async () => {
    assert.match((await negotiate({ clientProtocol: '2.0' }, '/detailed')).body, answer('/detailed', '2.0'));
    assert.match((await negotiate({ clientProtocol: '2.0' }, '/signalr/js')).body, answer('/signalr/js', '2.0'));
    assert.match((await negotiate({ clientProtocol: '2.0' }, '/signalr/some/where')).body, answer('/signalr/some/where', '2.0'));
    assert.match((await at('/signalr/NEGOTIATE', { clientProtocol: '2.0' })).body, answer('/signalr/NEGOTIATE', '2.0'));
  });

  test('a path that only begins alike', async () => {
    assert.equal((await negotiate({}, '/signalr3')).status, 404);
    assert.equal((await negotiate({}, '/signal')).status, 404);
  });

  const versions = { '': '1.2', x: '1.2', '1': '1.2', '0.9': '1.2', '1.2': '1.2', '1.3': '1.3', '1.3.5': '1.3.5', '1.4': '1.4', '1.5': '1.5', '2.0': '2.0', '2.1': '2.0', '3.0': '2.0', '10.0': '2.0' };
  for (const [asked, given] of Object.entries(versions)) {
    test(`protocol "${asked}"`, async () => assert.equal((await negotiate({ clientProtocol: asked })).json().ProtocolVersion, given));
  }
  test('no protocol', async () => assert.equal((await negotiate({})).json().ProtocolVersion, '1.2'));

  test('names of parameters in any case', async () => {
    assert.equal((await negotiate({ CLIENTPROTOCOL: '1.5' })).json().ProtocolVersion, '1.5');
  });
});

describe('hubs of a connection', () => {
  const status = async (connectionData, more = {}) => (await negotiate({ clientProtocol: '2.0', connectionData, ...more })).status;

  test('none', async () => {
    assert.equal(await status('[]'), 200);
    assert.equal(await status(undefined), 200);
    assert.equal(await status(''), 200);
  });

  test('in any spelling', async () => {
    for (const data of ['[{"name":"testhub"},{"name":"otherhub"}]', '[{"Name":"TESTHUB"}]', '[{"NAME":"TestHub"}]', '[{name:"testhub"}]', '[{\'name\':\'testhub\'}]',
      ' [ { "name" : "testhub" } ] ', '[{"name":"testhub","more":[1]}]']) {
      assert.equal(await status(data), 200, data);
    }
  });

  test('as the .NET client writes them into the address', async () => {
    assert.equal((await negotiate('clientProtocol=2.0&connectionData=[%7B%22Name%22:%22TestHub%22%7D,%7B%22Name%22:%22OtherHub%22%7D]')).status, 200);
  });

  test('one that does not exist', async () => {
    assert.equal(await status(dataFor('nowhere')), 500);
    assert.equal(await status(dataFor('TestHub', 'nowhere')), 500);
    assert.equal(await status(dataFor('NamedHub')), 500); // it is called StrangeName
    assert.equal(await status(dataFor('strangename')), 200);
  });

  test('one of them twice', async () => {
    assert.equal(await status(dataFor('TestHub', 'TestHub')), 500);
    assert.equal(await status(dataFor('TestHub', 'testhub')), 500);
  });

  test('no JSON', async () => {
    for (const data of ['[', '{', 'x', '[{"name":"testhub"}']) assert.equal(await status(data), 500, data);
  });

  test('on each request', async t => {
    const client = await negotiated(t);
    client.connectionData = dataFor('nowhere');
    for (const suffix of ['/start', '/send', '/abort', '/connect', '/reconnect', '/poll']) assert.equal((await client.request(suffix)).status, 500, suffix);
  });
});

describe('tokens', () => {
  const refused = async (answer, status, text, what) => {
    const { status: seen, headers, body } = await answer;
    assert.deepEqual([seen, body, headers['content-type']], [status, text, undefined], what);
    assert.equal(headers['x-content-type-options'], 'nosniff');
  };
  const suffixes = ['/connect', '/start', '/send', '/poll', '/reconnect', '/abort', ''];
  const another = 'Unrecognized user identity.  The user identity cannot change during an active SignalR connection.';

  test('no transport', async t => {
    const { token } = await negotiated(t);
    for (const suffix of suffixes) {
      for (const transport of [undefined, '', 'pigeons']) {
        await refused(at(`/signalr${suffix}`, { transport, connectionToken: token }), 400, 'Protocol error: Unknown transport.', `${suffix} ${transport}`);
      }
    }
  });

  for (const transport of transports) {
    test(`no token over ${transport}`, async () => {
      for (const suffix of suffixes) {
        for (const connectionToken of [undefined, '']) {
          await refused(at(`/signalr${suffix}`, { transport, connectionToken }), 400, 'Protocol error: Missing connection token.', suffix);
        }
      }
    });

    test(`a token that is none over ${transport}`, async t => {
      const { token, id } = await negotiated(t);
      const middle = token.length >> 1;
      const bent = token.slice(0, middle) + (token[middle] === 'A' ? 'B' : 'A') + token.slice(middle + 1);
      for (const suffix of suffixes) {
        for (const connectionToken of ['x', id, `${id}:`, Buffer.from(`${id}:`).toString('base64'), bent, token.slice(4)]) {
          await refused(at(`/signalr${suffix}`, { transport, connectionToken }), 400, 'The ConnectionId is in the incorrect format.', `${suffix} ${connectionToken}`);
        }
      }
    });

    test(`the token of somebody else over ${transport}`, async t => {
      const { token: anonymous } = await negotiated(t), { token: adas } = await negotiated(t, { qs: { user: 'ada' } });
      for (const suffix of suffixes) {
        await refused(at(`/signalr${suffix}`, { transport, connectionToken: adas }), 403, another, suffix);
        await refused(at(`/signalr${suffix}`, { transport, connectionToken: adas, user: 'bob' }), 403, another, suffix);
        await refused(at(`/signalr${suffix}`, { transport, connectionToken: anonymous, user: 'ada' }), 403, another, suffix);
      }
    });
  }

  test('names in any case, and with colons', async t => {
    for (const [name, again] of [['ada', 'ADA'], ['a:b::c', 'a:b::c'], [':', ':'], ['\u00c5sa', '\u00e5SA']]) {
      const { token } = await negotiated(t, { qs: { user: name } });
      assert.equal((await at('/signalr/abort', { transport: 'longPolling', connectionToken: token, user: again }, { form: {} })).status, 200, name);
    }
  });

  test('the token of groups is none for a connection', async t => {
    const client = await connectRaw(t, `${shared.url}/signalr`, 'webSockets');
    await client.invoke('Join', 'x');
    while (!client.groupsToken) await client.link.frames.next();
    await refused(client.request('/abort', { query: { connectionToken: client.groupsToken } }), 400, 'The ConnectionId is in the incorrect format.');
  });

  test('the name of a transport in any case', async t => {
    const { token } = await negotiated(t);
    assert.equal((await at('/signalr/abort', { transport: 'LONGpolling', connectionToken: token })).status, 200);
  });
});

describe('other requests', () => {
  test('ping', async () => {
    for (const path of ['/signalr/ping', '/signalr/PING', '/detailed/ping']) {
      const { status, headers, body } = await at(path, { any: 'thing' });
      assert.deepEqual([status, headers['content-type'], body], [200, json, '{ "Response": "pong" }'], path);
    }
  });

  test('start', async t => {
    const client = await negotiated(t);
    t.after(() => client.cut());
    await client.connect();
    const { status, headers, body } = await client.start();
    assert.deepEqual([status, headers['content-type'], body], [200, json, '{ "Response": "started" }']);
  });

  test('a transport of WebSockets without one', async t => {
    const client = await negotiated(t);
    for (const suffix of ['/connect', '/reconnect', '/send', '/poll', '']) {
      const { status, headers, body } = await client.request(suffix);
      assert.deepEqual([status, headers['content-type'], body], [400, undefined, 'Not a valid web socket request.'], suffix);
    }
  });

  test('calls by GET', async t => {
    const client = await connectRaw(t, `${shared.url}/signalr`, 'longPolling');
    const data = JSON.stringify({ H: 'TestHub', M: 'Echo', A: ['x'], I: 0 });
    assert.equal((await client.request('/send', { query: { data } })).body, '{"R":"x","I":"0"}');
  });

  test('nosniff everywhere', async t => {
    const client = await negotiated(t);
    const answers = [await at('/signalr/ping'), await at('/signalr/hubs'), await at('/noproxy/hubs'), await negotiate({}), await negotiate({ connectionData: '[' }), await at('/signalr/connect'),
      await client.abort(), await client.request('/send'), await at('/signalr/ping', { callback: 'x' }), await at('/signalr/negotiate', { connectionData: dataFor('SecretHub') })];
    assert.deepEqual(answers.map(({ headers }) => headers['x-content-type-options']), answers.map(() => 'nosniff'));
  });

  test('origins', async () => {
    const { headers } = await at('/signalr/negotiate', {}, { headers: { Origin: 'http://elsewhere.example' } });
    assert.equal(headers['access-control-allow-origin'], 'http://elsewhere.example');
    assert.equal(headers['access-control-allow-credentials'], 'true');
  });
});
