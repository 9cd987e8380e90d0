// What the tests share: the ways to connect, clients that remember what reaches them, and deadlines.
import { after, before, describe } from 'node:test';
import { HttpTransportType, HubConnectionBuilder, JsonHubProtocol, LogLevel, MessageType } from '@microsoft/signalr';
import { MessagePackHubProtocol } from '@microsoft/signalr-protocol-msgpack';
import { startServer } from '../server.mjs';

const webSockets = {
  bytes: bytes => Buffer.from(bytes).toString('base64'),
  options: { transport: HttpTransportType.WebSockets },
  cut: 'WebSocket closed with status code: 1006 (no reason given).',
};

/** Each way has the options of withUrl, a new protocol, the form that bytes have in it, and the client's text for a server that has vanished. */
const ways = [
  { ...webSockets, name: 'WebSockets, JSON', protocol: () => new JsonHubProtocol() },
  {
    ...webSockets,
    name: 'WebSockets without negotiation, JSON',
    protocol: () => new JsonHubProtocol(),
    options: { ...webSockets.options, skipNegotiation: true },
  },
  { ...webSockets, name: 'WebSockets, MessagePack', protocol: () => new MessagePackHubProtocol(), bytes: bytes => Uint8Array.from(bytes) },
];

/** A message without what its protocol has to mention although there is nothing to say: MessagePack has no absent items. */
const said = message => Object.fromEntries(Object.entries(message).filter(([name, value]) =>
  value !== undefined && !(name === 'error' && value === null) && !(name === 'allowReconnect' && !value) && !(name === 'headers' && !Object.keys(value).length)));

/** Runs the tests that define defines over each way to connect. */
export function overEveryWay(define) {
  for (const way of ways) describe(way.name, () => define(way));
}

/** Runs the tests that define defines over each way to connect, against a test server with these flags. */
export function againstServer(flags, define) {
  let server;
  before(async () => { server = await startServer(flags); });
  after(() => server?.stop());
  overEveryWay(way => define({
    way,
    get url() { return server.url; },
    newClient: (t, path = '/testhub', options = {}) => newClient(t, way, server.url + path, options),
    connect: (t, path = '/testhub', options = {}) => connect(t, way, server.url + path, options),
    connectAll: (t, count, path = '/testhub') =>
      Promise.all(Array.from({ length: count }, () => connect(t, way, server.url + path))),
  }));
}

/** What promise resolves to, unless that takes too long. */
export function within(promise, what, ms = 10_000) {
  const late = new Error(`${what}: not within ${ms} ms`);
  let timer;
  const deadline = new Promise((_, reject) => { timer = setTimeout(reject, ms, late); });
  return Promise.race([promise, deadline]).finally(() => clearTimeout(timer));
}

/** What has arrived, in order. */
class Inbox {
  #what;
  #items = [];
  #arrived = () => {};

  constructor(what) { this.#what = what; }

  push(item) {
    this.#items.push(item);
    this.#arrived();
  }

  get size() { return this.#items.length; }

  async #filled(count) {
    while (this.#items.length < count) await new Promise(arrived => { this.#arrived = arrived; });
  }

  async take(count) {
    await within(this.#filled(count), `${count} × ${this.#what}`);
    return this.#items.splice(0, count);
  }

  async next() { return (await this.take(1))[0]; }

  /** Everything that came before mark. */
  async upTo(mark) {
    const items = [];
    for (let item; (item = await this.next()) !== mark;) items.push(item);
    return items;
  }
}

/** A connection of the official client that remembers what reaches it. */
class Client {
  /** Messages of the hub protocol, as the client has parsed them; pings left out. */
  received = [];
  messages;
  closes = new Inbox('onclose');
  reconnecting = new Inbox('onreconnecting');
  reconnected = new Inbox('onreconnected');

  constructor(builder, protocol) {
    const parse = protocol.parseMessages;
    protocol.parseMessages = (...input) => {
      const parsed = parse.apply(protocol, input);
      this.received.push(...parsed.filter(({ type }) => type !== MessageType.Ping).map(said));
      return parsed;
    };
    this.connection = builder.withHubProtocol(protocol).build();
    this.messages = this.callback('Message');
    this.connection.onclose(error => this.closes.push(error));
    this.connection.onreconnecting(error => this.reconnecting.push(error));
    this.connection.onreconnected(id => this.reconnected.push(id));
  }

  /** Collects the arguments of a callback: a single one as it is, several as an array. */
  callback(name) {
    const inbox = new Inbox(name);
    this.connection.on(name, (...args) => { inbox.push(args.length === 1 ? args[0] : args); });
    return inbox;
  }

  start() { return within(this.connection.start(), 'start'); }
  stop() { return within(this.connection.stop(), 'stop'); }
  invoke(method, ...args) { return within(this.connection.invoke(method, ...args), method); }
  send(method, ...args) { return within(this.connection.send(method, ...args), method); }

  receivedOfType(type) { return this.received.filter(message => message.type === type); }
}

/** A client that is not started yet; options are those of withUrl, and retryDelay, with which it reconnects by itself. */
function newClient(t, way, url, { retryDelay, protocol = way.protocol(), ...options } = {}) {
  const builder = new HubConnectionBuilder().withUrl(url, { ...way.options, ...options }).configureLogging(LogLevel.None);
  if (retryDelay !== undefined) builder.withAutomaticReconnect({ nextRetryDelayInMilliseconds: () => retryDelay });
  const client = new Client(builder, protocol);
  t.after(() => client.stop());
  return client;
}

/** A client that is connected until the end of the test. */
export async function connect(t, way, url, options) {
  const client = newClient(t, way, url, options);
  await client.start();
  return client;
}

/** The ids by which the server knows these clients. */
export function idsOf(...clients) {
  return Promise.all(clients.map(client => client.invoke('Id')));
}

/** The messages that each client was sent by what the first one has called. A last one to everybody shows that no more will come. */
export async function delivered(first, ...others) {
  await first.invoke('ToAll', 'the end');
  return Promise.all([first, ...others].map(client => client.messages.upTo('the end')));
}

/**
 * The error with which the server turns a client away after the handshake. Where its Close reaches the client together with the
 * handshake's answer, start() fails with the error; else start() succeeds, and onclose has it. The original does both.
 */
export async function turnedAway(client) {
  try {
    await client.start();
  } catch (error) {
    return error;
  }
  return client.closes.next();
}

/** How a connection has ended for the hub. */
export function fateOf(id, witness) {
  return within((async () => {
    for (;;) {
      const fate = await witness.invoke('Fate', id);
      if (fate !== null) return fate;
    }
  })(), `the end of ${id}`);
}
