// A client for Node that others have written, signalr-client: WebSockets alone, and protocol 1.5.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import signalR from 'signalr-client';
import { Inbox } from '../inbox.mjs';
import { patience } from '../patience.mjs';
import { generic, serverForAll, upTo, within } from './client.mjs';
import { Cutter } from './cutter.mjs';

const shared = serverForAll();

class Client {
  /** What its handlers are told, as ["reconnecting", ...]. */
  events = new Inbox('event');
  #socket;
  #over = false;

  constructor(t, { url = shared.url, hubs = ['TestHub', 'OtherHub', 'EventHub'], headers = {} } = {}) {
    this.client = new signalR.client(`${url}/signalr`, hubs, 0.05, true); // reconnects after 50 ms, and does not start yet
    this.client.headers = headers;
    this.client.callTimeout = patience;
    for (const name of ['bindingError', 'connectFailed', 'connectionLost', 'disconnected', 'onerror', 'onUnauthorized']) {
      this.client.serviceHandlers[name] = (...args) => { this.events.push([name, ...args]); };
    }
    for (const name of ['connected', 'reconnected']) {
      this.client.serviceHandlers[name] = socket => {
        this.#socket = socket;
        this.events.push([name]);
      };
    }
    this.client.serviceHandlers.reconnecting = () => {
      this.events.push(['reconnecting']);
      return this.#over; // else it goes on for ever
    };
    this.got = this.on('got');
    // Once it has reconnected, it takes itself to be reconnecting still, and does not end.
    t.after(() => {
      this.#over = true;
      this.client.end();
      this.#socket?.close();
    });
  }

  get id() { return this.client.connection.id; }

  on(method, hub = 'TestHub') {
    const inbox = new Inbox(`${hub}.${method}`);
    this.client.on(hub, method, (...args) => { inbox.push(args.length === 1 ? args[0] : args); });
    return inbox;
  }

  async start() {
    this.client.start();
    assert.deepEqual(await this.events.next(), ['connected']);
    return this;
  }

  invoke(method, ...args) { return this.invokeOn('TestHub', method, ...args); }
  invokeOn(hub, method, ...args) {
    return within(new Promise((done, failed) => {
      this.client.call(hub, method, ...args).done((error, result) => (error ? failed(new Error(error)) : done(result)));
    }), method);
  }
}

const connect = (t, options) => new Client(t, options).start();
const ada = { Name: 'Ada', Age: 36, Address: { Street: 'here', Zip: '1' }, Tags: ['x'] };

test('a connection', async t => {
  const client = await connect(t);
  const { Id } = await client.invoke('WhoAmI');
  assert.equal(Id, client.id);
  assert.equal(await client.invoke('Query', 'clientProtocol'), '1.5');
  assert.equal((await shared.eventsOf(client.id))[0], 'connected:webSockets:');
});

test('calls and results', async t => {
  const client = await connect(t);
  assert.equal(await client.invoke('Echo', 'a+b&c\u{1f600}'), 'a+b&c\u{1f600}');
  assert.equal(await client.invoke('ADD', 1, 2), 3);
  assert.equal(await client.invoke('Nothing'), undefined);
  assert.deepEqual(await client.invoke('EchoPerson', ada), ada);
  assert.equal(await client.invokeOn('OtherHub', 'Echo', 'x'), 'other:x');
  assert.deepEqual(await Promise.all(upTo(100).map(i => client.invoke('Add', i, i))), upTo(100).map(i => 2 * i));
});

test('errors', async t => {
  const client = await connect(t);
  for (const method of ['Fail', 'FailLater', 'NoSuchMethod']) await assert.rejects(client.invoke(method), { message: generic(method).message });
  await assert.rejects(client.invoke('FailHub'), { message: 'for you' });
  assert.equal(await client.invoke('Echo', 'x'), 'x');
});

test('callbacks', async t => {
  const client = new Client(t), gotPerson = client.on('gotPerson'), other = client.on('GOT', 'otherhub');
  await client.start();
  await client.invoke('CallMany', 500);
  assert.deepEqual(await client.got.take(500), upTo(500));
  await client.invoke('CallPerson', ada);
  assert.deepEqual(await gotPerson.next(), [ada, 1, 'two']);
  await client.invoke('CallOtherHub', 'x');
  assert.equal(await other.next(), 'x');
  const answered = new Promise((done, failed) => client.client.on('TestHub', 'got', text => { client.invoke('Echo', `${text} again`).then(done, failed); }));
  await client.invoke('CallMe', 'x');
  assert.equal(await within(answered, 'a call in a callback'), 'x again');
});

test('groups and messages from outside', async t => {
  const clients = [await connect(t), await connect(t)], group = `node ${clients[0].id}`;
  for (const client of clients) await client.invoke('Join', group);
  await clients[0].invoke('ToGroup', group, 'a');
  await shared.order('group', { group, text: 'b' });
  await clients[1].invoke('Leave', group);
  await shared.order('group', { group, text: 'c' });
  await shared.order('client', { id: clients[1].id, text: 'd' });
  assert.deepEqual(await clients[0].got.take(3), ['a', 'b', 'c']);
  assert.deepEqual(await clients[1].got.take(3), ['a', 'b', 'd']);
});

test('a user', async t => {
  const client = await connect(t, { headers: { Cookie: 'user=ada of node' } });
  assert.equal((await client.invoke('WhoAmI')).User, 'ada of node');
  await shared.order('user', { user: 'ada of node', text: 'a' });
  assert.equal(await client.got.next(), 'a');
});

test('a hub that wants a user', async t => {
  const client = new Client(t, { hubs: ['SecretHub'] });
  client.client.start();
  const [event, response] = await client.events.next();
  assert.deepEqual([event, response.statusCode], ['onUnauthorized', 401]);
});

test('the end, and another start', async t => {
  const client = await connect(t), { id } = client;
  client.client.end();
  assert.deepEqual(await client.events.next(), ['disconnected']);
  const log = await shared.logged(id, /^disconnected/);
  assert.deepEqual(log.filter(entry => !entry.startsWith('module')), ['connected:webSockets:', 'disconnected:true::']);
  client.client.start();
  assert.deepEqual(await client.events.next(), ['connected']);
  assert.notEqual(client.id, id);
  assert.equal(await client.invoke('Echo', 'x'), 'x');
});

test('it reconnects when its connection is reset', async t => {
  const cutter = new Cutter(shared.port), client = await connect(t, { url: await cutter.listen(t) }), { id } = client, group = `reset ${id}`;
  await client.invoke('Join', group);
  for (const text of ['a', 'b', 'c']) {
    const cut = cutter.cutAfter(0, 'by a reset'); // what comes together with bytes, Node takes for an end, and then the client stays away
    await shared.order('client', { id, text: 'lost' });
    await cut;
    const events = (await client.events.take(4)).map(([name]) => name);
    assert.deepEqual(events.toSorted(), ['connectionLost', 'disconnected', 'reconnected', 'reconnecting']);
    // It asks for nothing that it has missed. But a keep-alive may have ended the connection, and not what is sent here.
    await shared.order('client', { id, text });
    assert.ok((await client.got.upTo(text)).every(missed => missed === 'lost'));
    assert.equal((await client.invoke('WhoAmI')).Id, id);
    await client.invoke('ToGroup', group, `${text} to the group`);
    assert.equal(await client.got.next(), `${text} to the group`);
  }
  assert.deepEqual((await shared.eventsOf(id)).filter(entry => !entry.startsWith('module')), ['connected:webSockets:']);
});
