// Clients that lose their connection, anywhere, and come back: nothing is lost, and nothing comes twice.
//
//   SEED=n node --test classic/replay.test.mjs
//
// brings the same places again.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { Random } from '../differential/random.mjs';
import { againstServer, Client, until, upTo } from './client.mjs';
import { Cutter, waysToCut } from './cutter.mjs';
import { openPage } from './page.mjs';
import { connectRaw, RawClient } from './raw.mjs';

const cuts = 20, part = 250, count = cuts * part;

againstServer(({ transport, shared, order, connect }) => {
  const url = () => `${shared.url}/signalr`;
  const open = (t, options) => connectRaw(t, url(), transport, options);
  const sendTo = async (client, ...texts) => {
    for (const text of texts) await order('client', { id: client.id, text });
  };

  test(`${count} messages, and ${cuts} cuts anywhere in them`, async t => {
    const seed = Number(process.env.SEED || randomInt(2 ** 31)), random = new Random(seed);
    console.log(`SEED=${seed}`);
    const cutter = new Cutter(shared.port), address = await cutter.listen(t);
    const page = await openPage(address);
    t.after(() => page.close());
    const client = new Client(page, '/signalr', { transport });
    t.after(() => client.stop());
    client.connection.reconnectDelay = 50;
    page.jQuery.signalR.transports.longPolling.reconnectDelay = 50;
    const got = client.on('got'), hello = client.on('hello', 'eventHub'), group = `group of ${seed}`;
    await client.start();
    const { id } = client;
    await client.invoke('Join', group);
    await hello.take(3);
    // The client has been told of the group when this has come.
    await order('group', { group, text: 'joined' });
    assert.equal(await got.next(), 'joined');

    let sent = 0;
    const send = async n => {
      for (; n > 0; n--) await order(...(random.chance(0.5) ? ['client', { id, text: `${sent++}` }] : ['group', { group, text: `${sent++}` }]));
    };
    for (const n of upTo(cuts)) {
      await until(() => sent - got.size <= part, 'most of what was sent'); // so that what it has missed is still kept
      const before = random.int(0, part);
      await send(before);
      let isCut = false;
      const cut = cutter.cutAfter(random.int(1, random.one([20, 200, 2000])), random.one(waysToCut)).then(() => { isCut = true; });
      await send((n + 1) * part - sent);
      await until(async () => isCut || await order('client', { id, text: 'more', method: 'unheard' }) && false, `cut ${n}`); // as much as it takes
      await cut;
    }

    const texts = await got.take(count);
    const first = texts.findIndex((text, i) => text !== `${i}`);
    assert.equal(first, -1, `message ${first} is ${texts[first]}, behind ${texts.slice(Math.max(0, first - 3), first)}`);
    await order('client', { id, text: 'the end' });
    assert.deepEqual(await got.upTo('the end'), []);
    await order('group', { group, text: 'the end' });
    assert.deepEqual(await got.upTo('the end'), []);
    assert.equal(client.id, id);
    assert.equal((await client.invoke('WhoAmI')).Id, id);

    const log = (await shared.eventsOf(id)).filter(entry => !entry.startsWith('module'));
    assert.equal(log[0], `connected:${transport}:`);
    assert.ok(log.length > 1 && log.slice(1).every(entry => entry === 'reconnected'), `${log}`);
    const states = await client.states.take(client.states.size);
    assert.deepEqual(states.slice(0, 2), ['connecting', 'connected']);
    assert.ok(states.slice(2).every((state, i) => state === (i % 2 ? 'connected' : 'reconnecting')), `${states}`);
    t.diagnostic(`${cutter.count} connections cut, ${log.length - 1} times OnReconnected`);
  });

  test('what is sent while a client is away waits for it, once', async t => {
    const client = await open(t);
    await sendTo(client, 'a');
    assert.deepEqual(await client.got(1), ['a']);
    client.cut();
    await sendTo(client, 'b', 'c');
    await client.reconnect();
    assert.deepEqual(await client.got(2), ['b', 'c']);
    await sendTo(client, 'd');
    assert.deepEqual(await client.got(1), ['d']);
  });

  test('a client that comes back with an older cursor gets again what is behind it', async t => {
    const client = await open(t);
    await sendTo(client, 'a');
    await client.got(1);
    const { cursor } = client;
    await sendTo(client, 'b', 'c');
    await client.got(2);
    client.cut();
    await client.reconnect({ cursor });
    assert.deepEqual(await client.got(2), ['b', 'c']);
    await sendTo(client, 'd');
    assert.deepEqual(await client.got(1), ['d']);
  });

  test('cursors that are none', async t => {
    const client = await open(t);
    await sendTo(client, 'a');
    await client.got(1);
    for (const cursor of ['x', 'd-', 'd-0-A,1', `${client.cursor}zzz,`, '\u{1f600}', ' ']) {
      client.cut();
        await client.reconnect({ cursor });
      await sendTo(client, cursor);
      for (let text; text !== cursor;) [text] = await client.got(1); // what is kept may come again
    }
    assert.deepEqual(client.unreadable, []);
  });

  test('the cursor of another connection', async t => {
    const client = await open(t), other = await open(t);
    await sendTo(other, 'secret');
    await other.got(1);
    client.cut();
    await client.reconnect({ cursor: other.cursor });
    await sendTo(client, 'a');
    assert.deepEqual(await client.got(1), ['a']);
  });

  test('who is away for too many messages gets the last ones', async t => {
    const client = await open(t), total = 1600;
    await sendTo(client, 'here');
    await client.got(1);
    client.cut();
    // Calls can be posted whatever the transport of the link is.
    const data = JSON.stringify({ H: 'TestHub', M: 'CallMany', A: [total], I: 'many' });
    const { status, body } = await client.request('/send', { query: { transport: 'longPolling' }, form: { data } });
    assert.deepEqual([status, body], [200, '{"I":"many"}']);
    await client.reconnect();
    await sendTo(client, 'the end');
    const numbers = [];
    for (let [number] = await client.got(1); number !== 'the end'; [number] = await client.got(1)) numbers.push(number);
    assert.ok(numbers.length >= 990 && numbers.length <= 1250, `${numbers.length} messages`);
    assert.deepEqual(numbers, upTo(total).slice(-numbers.length));
  });

  test('the groups of a client that comes back', async t => {
    const client = await open(t), group = `stays ${client.id}`, left = `left ${client.id}`;
    await client.invoke('Join', group);
    await client.invoke('Join', left);
    await client.invoke('Leave', left);
    await sendTo(client, 'here');
    await client.got(1);
    client.cut();
    await client.reconnect();
    await order('group', { group: left, text: 'a' });
    await order('group', { group, text: 'b' });
    assert.deepEqual(await client.got(1), ['b']);
  });

  test('a token of groups comes when they change, and not else', async t => {
    const client = await open(t), group = `tokens ${client.id}`;
    const tokens = () => client.responses.filter(({ G }) => G !== undefined).map(({ G }) => G);
    await sendTo(client, 'a');
    await client.got(1);
    assert.deepEqual(tokens(), []);
    await client.invoke('Join', group);
    await until(() => tokens().length === 1, 'a token');
    await client.invoke('Join', group);
    await sendTo(client, 'b');
    await client.got(1);
    assert.equal(tokens().length, 1);
    await client.invoke('Leave', group);
    await until(() => tokens().length === 2, 'a token without groups');
    await client.invoke('Leave', group);
    await sendTo(client, 'c');
    await client.got(1);
    assert.equal(tokens().length, 2);
  });

  test('a client that the server has forgotten comes back into its groups by its token', async t => {
    const client = await open(t, { hubs: ['TestHub', 'EventHub'] }), group = `token ${client.id}`;
    await client.invoke('Join', group);
    await order('group', { group, text: 'joined' }); // when this has come, so has the token
    await until(() => client.messages.items.some(({ A: [text] }) => text === 'joined'), 'a message to the group');
    const [token, cursor] = [client.groupsToken, client.cursor];
    await client.abort();
    await shared.logged(client.id, 'disconnected:true::');
    client.cut();
    const again = new RawClient(url(), transport, { hubs: ['TestHub', 'EventHub'] });
    t.after(() => again.cut());
    Object.assign(again, { token: client.token, id: client.id });
    await again.reconnect({ cursor, groupsToken: token });
    await order('group', { group, text: 'a' });
    assert.deepEqual(await again.got(1), ['a']);
  });

  test('tokens of groups that are none, and that of another connection', async t => {
    const other = await open(t), group = `others ${other.id}`;
    await other.invoke('Join', group);
    await until(() => other.groupsToken, 'a token');
    for (const groupsToken of ['x', other.groupsToken, other.token]) {
      const client = await new RawClient(url(), transport).negotiate();
      t.after(() => client.cut());
      await client.reconnect({ groupsToken });
      await order('group', { group, text: 'secret' });
      await sendTo(client, 'a');
      assert.deepEqual(await client.got(1), ['a']);
    }
  });

  test('the official client reconnects by itself', async t => {
    const cutter = new Cutter(shared.port), page = await openPage(await cutter.listen(t));
    t.after(() => page.close());
    const client = await connect(t, { page }), reconnected = [];
    client.connection.reconnecting(() => reconnected.push('reconnecting')).reconnected(() => reconnected.push('reconnected'));
    const cut = cutter.cutAfter(1, waysToCut[0]);
    await sendTo(client, 'a');
    await cut;
    await sendTo(client, 'b');
    assert.deepEqual(await client.got.take(2), ['a', 'b']);
    await until(() => reconnected.length === 2, 'the reconnect');
    assert.deepEqual(reconnected, ['reconnecting', 'reconnected']);
    assert.equal(await client.invoke('Echo', 'x'), 'x');
  });
});
