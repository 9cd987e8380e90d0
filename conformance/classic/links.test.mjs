// What carries a connection, as it looks on the wire: how it begins, what is sent while nothing happens, and how it ends.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startServer } from '../server.mjs';
import { againstServer, flags, until } from './client.mjs';
import { connectRaw, RawClient } from './raw.mjs';

const cursor = '[^"\\\\\\u0000-\\u001f]+';

againstServer(({ transport, shared, newClient }) => {
  const url = () => `${shared.url}/signalr`;
  const open = (t, options) => connectRaw(t, url(), transport, options);

  /** Takes frames until one has the text. */
  async function frameWith(client, text) {
    return until(() => client.responses.find(frame => JSON.stringify(frame).includes(text)), `a frame with ${text}`);
  }

  test('the init message', async t => {
    const client = new RawClient(url(), transport, { polls: false });
    t.after(() => client.cut());
    await client.negotiate();
    const link = await client.receive('/connect');
    const texts = [await link.frames.next()];
    if (transport === 'serverSentEvents') {
      assert.equal(texts[0], 'initialized');
      assert.match(link.headers['content-type'], /^text\/event-stream/);
      texts.push(await link.frames.next());
    }
    assert.match(texts.at(-1).trimStart(), new RegExp(`^\\{"C":"${cursor}","S":1,"M":\\[\\]\\}$`));
    if (transport === 'longPolling') {
      assert.equal(await link.ended(), 'end');
      assert.equal(link.headers['content-type'], 'application/json; charset=UTF-8');
    }
    if (transport !== 'webSockets') assert.equal(link.headers['x-content-type-options'], 'nosniff');
  });

  test('a call of a callback', async t => {
    const client = await open(t);
    await client.answerTo('testhub', 'callme', ['hey']);
    assert.deepEqual(await client.messages.next(), { H: 'TestHub', M: 'got', A: ['hey'] });
    const frame = await frameWith(client, 'hey');
    assert.deepEqual(Object.keys(frame), ['C', 'M']);
  });

  test('a call of a callback with state', async t => {
    const client = await open(t);
    const { frame } = await client.answerTo('TestHub', 'StateThenCall', [], { S: { mark: 'old', other: 1 } });
    assert.deepEqual(await client.messages.next(), { H: 'TestHub', M: 'got', A: ['call'], S: { mark: 'set' } });
    assert.deepEqual(frame.S, { mark: 'set' });
  });

  test('answers to calls', async t => {
    const client = await open(t);
    const answer = async (...call) => (await client.answerTo(...call)).text;
    assert.equal(await answer('TestHub', 'Echo', ['x']), '{"R":"x","I":"0"}');
    assert.equal(await answer('TestHub', 'Nothing'), '{"I":"1"}');
    assert.equal(await answer('TestHub', 'Null'), '{"I":"2"}');
    assert.equal(await answer('TestHub', 'FailHub'), '{"I":"3","H":true,"E":"for you"}');
    assert.equal(await answer('TestHub', 'FailHubData'), '{"I":"4","H":true,"E":"for you","D":{"user":"ada","Code":7}}');
    assert.equal(await answer('testHUB', 'fail'), '{"I":"5","E":"There was an error invoking Hub method \'testHUB.fail\'."}');
    assert.equal(await answer('TestHub', 'CountState', [], { S: { counter: 4, other: 'x' } }), '{"S":{"counter":5},"R":5,"I":"6"}');
  });

  test('numbers in answers', async t => {
    const client = await open(t);
    const { text } = await client.answerTo('TestHub', 'MakeValues');
    for (const part of ['"When":"2020-01-02T03:04:05Z"', '"Number":1.0', '"Big":9007199254740993', '"Money":1.10']) assert.ok(text.includes(part), text);
  });

  test('a number with a fraction has one in answers, too', async t => {
    const client = await open(t);
    assert.equal((await client.answerTo('TestHub', 'Half', [4])).text, '{"R":2.0,"I":"0"}');
  });

  test('forms of a call', async t => {
    const client = await open(t);
    const texts = [];
    const collect = text => { if (JSON.parse(text).I !== undefined) texts.push(text); };
    const send = async data => {
      const answer = await client.send(data);
      if (answer) collect(answer.body);
    };
    await send('{"H":"TestHub","M":"Echo","A":["x"],"I":"text"}');
    await send('{"I":7,"A":[5],"M":"Echo","H":"TestHub"}');
    await send('{"H":"TestHub","M":"Overload","I":8}');
    await send('{"H":"TestHub","M":"Overload","A":null,"I":9}');
    const expected = ['{"R":"x","I":"text"}', '{"R":"5","I":"7"}', '{"R":"0","I":"8"}', '{"R":"0","I":"9"}'];
    if (transport === 'webSockets') {
      while (texts.length < expected.length) collect(await client.link.frames.next());
      texts.sort((a, b) => expected.indexOf(a) - expected.indexOf(b)); // calls run side by side
    }
    assert.deepEqual(texts, expected);
  });

  test('the request of a call is that of the connection', async t => { // in the original, that of the call, where it has one
    const client = await open(t, { qs: { which: 'link' }, headers: { 'X-Which': 'link' } });
    const expected = 'link';
    Object.assign(client, { qs: { which: 'send' }, headers: { 'X-Which': 'send' } });
    assert.deepEqual([await client.invoke('RequestQuery', 'which'), await client.invoke('Header', 'X-Which')], [expected, expected]);
  });

  test('progress', async t => {
    const client = await open(t);
    await client.answerTo('TestHub', 'Progress', [2]);
    assert.deepEqual(await client.messages.take(2), [{ I: 'P|0', P: { I: '0', D: 0 } }, { I: 'P|0', P: { I: '0', D: 1 } }]);
  });

  test('what cannot be executed', async t => {
    const client = await open(t);
    const state = JSON.stringify({ H: 'TestHub', M: 'Echo', A: ['x'], I: 0, S: { long: 'x'.repeat(4200) } });
    for (const data of ['{"H":"TestHub","M":"Echo","A":["x"],"I":', 'x', '[]', '{"H":"Nowhere","M":"Echo","A":["x"],"I":0}', state]) {
      const answer = await client.send(data);
      if (answer) assert.equal(answer.status, 500, data.slice(0, 60));
    }
    assert.equal(await client.invoke('Echo', 'x'), 'x');
  });

  test('signs of life', async t => {
    const client = await open(t, { polls: false });
    if (transport === 'longPolling') {
      const text = await client.poll();
      assert.match(text, /^ +\{/); // blanks
      const { C, M, ...more } = JSON.parse(text);
      assert.ok(C);
      assert.deepEqual([M, more], [[], {}]);
    } else {
      const frames = client.link.frames;
      for (let count = 0; count < 2;) if (await frames.next() === '{}') count++;
      assert.deepEqual(client.unreadable, []);
    }
  });

  if (transport === 'webSockets') {
    test('signs of life come while there are answers to calls, which the client does not take for any', async t => {
      const client = await open(t), { frames } = client.link;
      await until(async () => await client.invoke('Echo', 'x') && frames.items.includes('{}'), 'a sign of life');
    });
  }

  test('a connection with which nothing happens stays', async t => {
    const client = newClient(t);
    const hello = client.on('hello', 'eventHub');
    await client.start();
    await hello.take(3);
    const began = performance.now();
    // Longer than a poll may last and than a client waits for signs of life, and as long as a connection that has vanished is kept.
    await until(() => performance.now() - began > 12_000, 'some time');
    assert.deepEqual((await shared.eventsOf(client.id)).filter(entry => !entry.startsWith('module')), [`connected:${transport}:`]);
    assert.deepEqual(await client.states.take(client.states.size), ['connecting', 'connected']);
    assert.equal(client.errors.size, 0);
  });

  test('much in one message of the server', async t => {
    const client = await open(t);
    const text = 'x'.repeat(200_000);
    await shared.order('client', { id: client.id, text });
    assert.deepEqual(await client.got(1), [text]);
  });

  test('the server goes away', async t => {
    const server = await startServer(flags);
    t.after(() => server.stop());
    const client = await connectRaw(t, `${server.url}/signalr`, transport);
    const { link } = client;
    const answer = await fetch(`${server.control}/classic/shutdown`).catch(() => {}); // it may not get to answer
    if (answer) assert.equal(answer.status, 200);
    const how = await link.ended();
    if (transport === 'longPolling') {
      assert.equal(how, 'end');
      assert.equal(client.responses.at(-1).T, 1);
    } else assert.equal(how, transport === 'webSockets' ? '1000' : 'end');
  });

  if (transport === 'webSockets') {
    test('a message that is too large ends the socket, and the client may come back', async t => {
      const client = await open(t);
      client.send(JSON.stringify({ H: 'TestHub', M: 'Echo', A: ['x'.repeat(70_000)], I: 0 }));
      await client.link.ended();
      await client.reconnect();
      assert.equal(await client.invoke('Echo', 'x'), 'x');
    });

    test('a binary message ends the socket', async t => {
      const client = await open(t);
      client.link.send(Buffer.from([1, 2]));
      await client.link.ended();
    });

    test('a socket that the client closes is no end of the connection', async t => {
      const client = await open(t, { hubs: ['EventHub'] });
      client.link.cut();
      await client.reconnect();
      assert.ok(!(await shared.logged(client.id, 'reconnected')).some(entry => entry.startsWith('disconnected')));
    });
  }
});
