// The client of SignalR 2 in pages of a real browser, over each of its transports.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { join } from 'node:path';
import { logged, order, overEveryTransport, transports, upTo } from '../classic/client.mjs';
import { Cutter, waysToCut } from '../classic/cutter.mjs';
import { patience } from '../patience.mjs';
import { startServer } from '../server.mjs';
import { launch } from './browser.mjs';

const flags = ['-origins', '', '-keepalive', '2s', '-pages', join(import.meta.dirname, '..')];
let browser, server;

before(async () => {
  server = await startServer(flags);
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** A tab with the page. It has cookies and connections of its own, unless it shares a context with others. excused are errors that it may have. */
async function open(t, transport, { origin = server.url, context, excused } = {}) {
  if (!context) {
    context = await browser.newContext();
    t.after(() => context.close());
  }
  const page = await context.newPage(), errors = [];
  page.on('pageerror', ({ message }) => { if (!excused?.test(message)) errors.push(message); });
  t.after(() => assert.deepEqual(errors, []));
  page.setDefaultTimeout(patience);
  await page.goto(`${origin}/pages/browser/classic.html?transport=${transport}`);
  return page;
}

const ada = { Name: 'Ada', Age: 36, Address: { Street: 'St James\'s Square', Zip: 'SW1' }, Tags: ['countess', 'programmer'] };
const odd = '</script><!-- & + % \' " \\ \u0000 \u2028 \u00e9 \u6f22 \u{1f600}';

/** What the log of a connection says of OnConnected, OnReconnected and OnDisconnected. */
const lives = log => log.filter(entry => !entry.startsWith('module'));

overEveryTransport(transport => {
  const connected = `connected:${transport}:`;

  /** A test whose function runs in a page, and returns what is expected. */
  function inPage(name, run, expected) {
    test(name, async t => {
      const page = await open(t, transport);
      assert.deepEqual(await page.evaluate(run, { transport, ada, odd }), expected);
    });
  }

  inPage('connects', async () => {
    const client = await connect();
    return {
      name: client.connection.transport.name, hellos: (await client.hello.take(3)).sort(), seen: await client.invoke('RequestQuery', 'transport'),
      same: (await client.invoke('WhoAmI')).Id === client.id, states: client.states.items, errors: client.errors.items,
    };
  }, { name: transport, hellos: [0, 1, 2], seen: transport, same: true, states: ['connecting', 'connected'], errors: [] });

  inPage('arguments and results', async ({ ada, odd }) => {
    const client = await connect();
    const much = 'x'.repeat(60_000);
    await client.invoke('CallMe', odd);
    await client.invoke('CallMe', much);
    return [
      await client.invoke('Add', 2, 40), await client.invoke('EchoPerson', ada), await client.invoke('Counts', { a: 1, 'b c': 2 }),
      (await client.invoke('Rename', [ada, ada], 'b')).map(({ Name }) => Name), await client.invoke('Overload', 'x', 'y'), await client.invoke('Nothing'),
      await client.invoke('EchoBytes', 'AQL/'), await client.invoke('EchoDate', '2020-01-02T03:04:05Z'), await client.invoke('Echo', odd),
      await client.invoke('Echo', much) === much, await client.got.next(), await client.got.next() === much,
    ];
  }, [42, ada, { a: 2, 'b c': 3 }, ['b', 'b'], '2:xy', undefined, 'AQL/', '2020-01-02T03:04:05Z', odd, true, odd, true]);

  const generic = method => ({ message: `There was an error invoking Hub method 'testhub.${method}'.`, source: 'Exception', data: undefined });
  inPage('errors', async () => {
    const client = await connect(), detailed = await connect('/detailed');
    const calls = [client.invoke('Fail'), client.invoke('Nope'), client.invoke('FailHub'), client.invoke('FailHubData'), detailed.invoke('Fail')];
    return [await Promise.all(calls.map(errorOf)), await client.invoke('Echo', 'goes on')];
  }, [[
    generic('Fail'), generic('Nope'), { message: 'for you', source: 'HubException', data: undefined },
    { message: 'for you', source: 'HubException', data: { user: 'ada', Code: 7 } }, { message: 'secret reason', source: 'Exception', data: undefined },
  ], 'goes on']);

  inPage('progress', async ({ transport }) => {
    const client = await connect();
    const { result, reports } = await client.invokeWithProgress('Progress', 50);
    const two = await client.invokeWithProgress('ProgressTwo', 'laundry');
    await client.invoke('CallMe', 'the end'); // behind all reports
    await client.got.upTo('the end');
    const sent = client.received.flatMap(({ P }) => (typeof P?.D === 'number' ? [P.D] : []));
    // Other transports bring the result another way, and jQuery drops the reports that come behind it.
    const inOrder = reports.every((report, i) => report === i) && (transport !== 'webSockets' || reports.length === 50);
    return [result, inOrder, sent, two];
  }, ['done', true, upTo(50), { result: 'laundry done', reports: [{ Job: 'laundry', Percent: 100 }] }]);

  inPage('state', async () => {
    const client = await connect();
    client.state = { userName: 'ada', computer: 'engine', counter: 4, deep: { list: [1] } };
    const read = [await client.invoke('ReadCaller'), await client.invoke('CountState'), await client.invoke('CountState')];
    await client.invoke('WriteState', 'MixedCase', 'red');
    let seen;
    client.proxy().on('got', () => { seen = client.state.mark; });
    await client.invoke('StateThenCall');
    await client.got.next();
    return [read, client.state, seen];
  }, [['ada@engine', 5, 6], { userName: 'ada', computer: 'engine', counter: 6, deep: { list: [1] }, MixedCase: 'red', mark: 'set' }, 'set']);

  inPage('broadcasts and groups', async ({ transport }) => {
    const clients = await Promise.all([connect(), connect(), connect()]), [first, second, third] = clients, group = `friends over ${transport}`;
    await first.invoke('Join', group);
    await second.invoke('Join', group);
    await third.invoke('ToGroup', group, 'a');
    await first.invoke('OthersInGroup', group, 'b');
    await second.invoke('ToClient', third.id, 'c');
    await second.invoke('Leave', group);
    await third.invoke('ToGroup', group, 'd');
    // Messages of different senders may overtake each other.
    const came = [await first.got.take(2), await second.got.take(2), await third.got.take(1)];
    await first.invoke('Others', 'e');
    const others = [await second.got.next(), await third.got.next()];
    await third.invoke('All', 'the end');
    return [came, others, await Promise.all(clients.map(({ got }) => got.upTo('the end')))];
  }, [[['a', 'd'], ['a', 'b'], ['c']], ['e', 'e'], [[], [], []]]);

  inPage('many callbacks come in order', async () => {
    const client = await connect();
    await client.invoke('CallMany', 500);
    return client.got.take(500);
  }, upTo(500));

  inPage('generated proxies', async () => {
    const client = newClient(undefined, { generated: true }), done = client.on('done', 'typedHub'), { hub, testHub, typedHub, StrangeName } = $.connection;
    await client.start();
    await testHub.server.callMe('hello');
    await typedHub.server.run('x');
    await done.next();
    testHub.state.counter = 1;
    const results = [await testHub.server.overload('a', 'b'), await testHub.server.countState(), testHub.state.counter, await StrangeName.server.SayIt('x')];
    return [hub.transport.name, hub.url, results, typedHub.state.typed, await errorOf(testHub.server.failHubData()), await client.got.next()];
  }, [transport, '/signalr', ['2:ab', 2, 2, 'said x'], 'yes', { message: 'for you', source: 'HubException', data: { user: 'ada', Code: 7 } }, 'hello']);

  /** A client in a page behind a cutter, which is in a group, has been told of it, and comes back soon. */
  async function openBehind(t, cutter, group) {
    const page = await open(t, transport, { origin: await cutter.listen(t) });
    const id = await page.evaluate(async group => {
      window.client = await connect();
      client.connection.reconnectDelay = $.signalR.transports.longPolling.reconnectDelay = 50;
      await client.invoke('Join', group);
      return client.id;
    }, group);
    await order(server, 'group', { group, text: 'joined' });
    assert.equal(await page.evaluate(() => client.got.next()), 'joined');
    return { page, id };
  }

  /** What it has gone through in the page, and on the server, where nothing else than losses of its connection is allowed. */
  async function losses(page, id) {
    const [states, same] = await page.evaluate(async () => [client.states.items, (await client.invoke('WhoAmI')).Id === client.id]);
    const count = (states.length - 2) / 2, [first, ...more] = lives(await order(server, 'events', { id }));
    assert.deepEqual(states, ['connecting', 'connected', ...upTo(count).flatMap(() => ['reconnecting', 'connected'])]);
    assert.ok(same && first === connected && more.every(entry => entry === 'reconnected'), `${[first, ...more]}`);
    return count;
  }

  test('a client that loses its connection comes back', async t => {
    const cutter = new Cutter(server.port), group = `cut off over ${transport}`, { page, id } = await openBehind(t, cutter, group);
    let sent = 0, taken = 0;
    const send = () => order(server, ...(sent % 3 ? ['client', { id, text: `${sent++}` }] : ['group', { group, text: `${sent++}` }]));
    // A frame does not tell its page that it was cut: it takes 4 s until the client knows.
    const ways = transport === 'foreverFrame' ? ['on the side of the client'] : waysToCut;
    for (const [i, how] of ways.entries()) {
      let isCut = false;
      cutter.cutAfter(40 + 130 * i, how).then(() => { isCut = true; });
      while (!isCut) await send();
      for (let n = 0; n < 20; n++) await send();
      assert.deepEqual(await page.evaluate(count => client.got.take(count), sent - taken), upTo(sent).slice(taken).map(String));
      taken = sent;
    }
    const count = await losses(page, id);
    assert.ok(count >= (transport === 'longPolling' ? 0 : ways.length), `${count} losses`); // a poll may have ended before the cut
    t.diagnostic(`${cutter.count} TCP connections cut, ${count} losses`);
  });

  test('a browser that is offline for a time', async t => {
    const cutter = new Cutter(server.port), group = `offline over ${transport}`, { page, id } = await openBehind(t, cutter, group);
    await page.context().setOffline(true);
    cutter.cutAfter(1, 'by a reset'); // the browser opens nothing now, but may go on with what is open
    for (const text of ['a', 'b']) await order(server, 'group', { group, text });
    await page.evaluate(() => client.states.upTo('reconnecting'));
    await order(server, 'client', { id, text: 'c' });
    await page.context().setOffline(false);
    assert.deepEqual(await page.evaluate(() => client.got.take(3)), ['a', 'b', 'c']);
    await logged(server, id, 'reconnected');
  });

  for (const way of ['fetch', 'XMLHttpRequest']) {
    test(`a client that stops, and says so by ${way}`, async t => {
      const page = await open(t, transport);
      const id = await page.evaluate(async way => {
        if (way !== 'fetch') delete window.fetch;
        window.client = await connect('/signalr', { qs: { user: 'ada', tag: 'a b' } });
        return client.id;
      }, way);
      await page.evaluate(() => client.stop());
      assert.deepEqual(lives(await logged(server, id, /^disconnected/)), [`${connected}ada`, 'disconnected:true:ada:a b']);
      assert.deepEqual(await page.evaluate(() => [client.states.items, client.errors.items]), [['connecting', 'connected', 'disconnected'], []]);
    });
  }

  for (const [what, leave] of [
    ['a page that goes to another', page => page.goto('about:blank')],
    ['a page that is loaded again', page => page.reload()],
    ['a page that is closed', page => page.close({ runBeforeUnload: true })],
  ]) {
    test(what, async t => {
      const page = await open(t, transport);
      const id = await page.evaluate(async () => (await connect()).id);
      await leave(page);
      assert.deepEqual(lives(await logged(server, id, /^disconnected/)), [connected, 'disconnected:true::']);
    });
  }

  test('tabs with a client of each kind see one order', async t => {
    const context = await browser.newContext(), group = `tabs over ${transport}`, count = 50;
    t.after(() => context.close());
    const tabs = [await open(t, transport, { context }), await open(t, transport, { context })];
    await tabs[0].evaluate(async () => { window.client = await connect(); });
    await tabs[1].evaluate(async () => { window.client = await connectCore('/classichub'); });
    for (const tab of tabs) await tab.evaluate(group => client.invoke('Join', group), group);
    const names = ['SignalR 2', 'ASP.NET Core SignalR', 'outside'];
    const sending = tabs.map((tab, i) => tab.evaluate(async ([group, name, count]) => {
      for (let n = 0; n < count; n++) await client.invoke('ToGroup', group, `${name} ${n}`);
    }, [group, names[i], count]));
    for (const n of upTo(count)) await order(server, 'group', { group, text: `${names[2]} ${n}` });
    await Promise.all(sending);
    const [one, two] = await Promise.all(tabs.map(tab => tab.evaluate(count => client.got.take(count), 3 * count)));
    assert.deepEqual(two, one);
    for (const name of names) assert.deepEqual(one.filter(text => text.startsWith(name)), upTo(count).map(n => `${name} ${n}`));
  });
}, [...transports, 'foreverFrame']);

describe('a client that chooses its transport', () => {
  for (const [without, expected] of [[[], 'webSockets'], [['WebSocket'], 'serverSentEvents'], [['WebSocket', 'EventSource'], 'foreverFrame']]) {
    test(`takes ${expected}`, async t => {
      const page = await open(t, 'auto');
      assert.equal(await page.evaluate(async without => {
        for (const name of without) delete window[name];
        return (await connect()).connection.transport.name;
      }, without), expected);
    });
  }
});

/** Runs in a page: connects to another origin, and returns what happens to calls, callbacks and cookies. */
async function tryAcross([url, start]) {
  window.client = newClient(url);
  const error = await errorOf(client.start(start));
  if (error) return error.message;
  await client.invoke('CallMe', 'hello');
  return [client.connection.transport.name, await client.invoke('Echo', 'x'), await client.got.next(), await client.invoke('Cookie', 'testCookie')];
}

const refused = 'Error during negotiation request.';
const noTransport = 'No transport could be initialized successfully. Try specifying a different transport or none at all for auto initialization.';

for (const [what, listed, credentials] of [['with credentials', true, true], ['without credentials', true, false], ['that are not allowed', false, true]]) {
  describe(`pages of other origins ${what}`, () => {
    let other;
    before(async () => { other = await startServer(['-origins', listed ? server.url : 'https://other.example', ...(credentials ? ['-credentials'] : [])]); });
    after(() => other?.stop());

    for (const transport of transports) {
      const connected = cookie => [transport, 'x', 'hello', cookie];

      /** What happens in a page, whose client then stops. */
      async function across(t, path, start, excused) {
        const page = await open(t, transport, { excused }), result = await page.evaluate(tryAcross, [other.url + path, start]);
        const id = await page.evaluate(() => { const { id } = client; client.stop(); return id; });
        if (id) assert.deepEqual(lives(await logged(other, id, /^disconnected/)), [`connected:${transport}:`, 'disconnected:true::']);
        return result;
      }

      test(transport, async t => {
        assert.deepEqual(await across(t, '/signalr', {}), listed && credentials ? connected('testValue') : refused);
        assert.deepEqual(await across(t, '/signalr', { withCredentials: false }), listed ? connected('') : refused);
      });

      test(`${transport} with JSONP, which needs no consent`, async t => {
        const expected = {
          webSockets: listed ? connected(credentials ? 'testValue' : '') : noTransport,
          serverSentEvents: listed && credentials ? connected('testValue') : noTransport,
          longPolling: connected('testValue'), // browsers do not tell the origin of a script's page
        };
        // The client cannot read the answer to its abort, and jQuery takes away the callback of a poll that it gives up.
        const excused = /^Failed to fetch$|^jQuery\d+_\d+ is not defined$/;
        assert.deepEqual(await across(t, '/detailed', { jsonp: true }, excused), expected[transport]);
        assert.deepEqual(await across(t, '/signalr', { jsonp: true }), refused);
      });
    }
  });
}
