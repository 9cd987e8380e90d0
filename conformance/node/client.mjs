// What the tests share: the ways to connect, clients that remember what reaches them, and deadlines.
import { after, before, describe } from 'node:test';
import { HttpTransportType, HubConnectionBuilder, JsonHubProtocol, LogLevel, MessageType } from '@microsoft/signalr';
import { MessagePackHubProtocol } from '@microsoft/signalr-protocol-msgpack';
import { Inbox } from '../inbox.mjs';
import { within } from '../patience.mjs';
import { reference, startServer } from '../server.mjs';

export { patience, within } from '../patience.mjs';

/** The numbers from 0 up to count, without that. */
export const upTo = count => Array.from({ length: count }, (_, i) => i);

/** The error of a call whose method has failed. */
export const failed = (method, text) => ({ message: `An unexpected error occurred invoking '${method}' on the server.${text}` });

/** An object whose names begin with capitals. */
const declared = object => Object.fromEntries(Object.entries(object).map(([name, value]) => [name[0].toUpperCase() + name.slice(1), value]));

export const json = { protocol: () => new JsonHubProtocol(), bytes: bytes => Buffer.from(bytes).toString('base64'), object: object => object };
export const messagePack = { protocol: () => new MessagePackHubProtocol(), bytes: bytes => Uint8Array.from(bytes), object: declared, binary: true };

const webSockets = {
  transport: 'WebSockets',
  options: { transport: HttpTransportType.WebSockets },
  cut: 'WebSocket closed with status code: 1006 (no reason given).',
};
const serverSentEvents = { transport: 'ServerSentEvents', options: { transport: HttpTransportType.ServerSentEvents }, cut: undefined };
const longPolling = { transport: 'LongPolling', options: { transport: HttpTransportType.LongPolling }, cut: 'fetch failed' };

/**
 * Each way has the transport by the server's name, the options of withUrl, a new protocol, whether that is binary, the forms that
 * bytes and an object of the server's have in it, and the client's text for a server that has vanished, if it has one.
 */
export const ways = [
  { name: 'WebSockets, JSON', ...webSockets, ...json },
  { name: 'WebSockets without negotiation, JSON', ...webSockets, ...json, options: { ...webSockets.options, skipNegotiation: true } },
  { name: 'WebSockets, MessagePack', ...webSockets, ...messagePack },
  { name: 'Server-Sent Events, JSON', ...serverSentEvents, ...json },
  { name: 'Long Polling, JSON', ...longPolling, ...json },
  { name: 'Long Polling, MessagePack', ...longPolling, ...messagePack },
];

/** Why there are no tests with MessagePack, if there are none. */
export const noMessagePack = reference && 'The original server has MessagePack in a package that is not at hand.';

/** Why a way is not taken. TROUPE_WAYS=text,text takes, while something is being built, those alone whose names have one of the texts. */
function skipped(way) {
  if (way.binary && noMessagePack) return noMessagePack;
  const chosen = process.env.TROUPE_WAYS?.split(',');
  if (chosen && !chosen.some(text => way.name.includes(text))) return 'TROUPE_WAYS leaves it out.';
  return false;
}

/** A message without what its protocol has to mention although there is nothing to say: MessagePack has no absent items. */
const said = message => Object.fromEntries(Object.entries(message).filter(([name, value]) =>
  value !== undefined && !(name === 'error' && value === null) && !(name === 'allowReconnect' && !value) &&
  !(name === 'headers' && !Object.keys(value).length) && !(name === 'streamIds' && !value.length)));

/** Troupe says Error where the original names the type of an exception. */
const inOurWords = message =>
  message.error ? { ...message, error: message.error.replace(/\b(?!HubException\b)[A-Z]\w*Exception: /, 'Error: ') } : message;

/** Runs the tests that define defines over each way to connect. */
export function overEveryWay(define) {
  for (const way of ways) describe(way.name, { skip: skipped(way) }, () => define(way));
}

/** Runs the tests that define defines over each way to connect, against a test server with these flags. */
export function againstServer(flags, define) {
  let server;
  before(async () => { server = await startServer(flags); });
  after(() => server?.stop());
  overEveryWay(way => define({
    way,
    get url() { return server.url; },
    get port() { return server.port; },
    newClient: (t, path = '/testhub', options = {}) => newClient(t, way, server.url + path, options),
    connect: (t, path = '/testhub', options = {}) => connect(t, way, server.url + path, options),
    connectAll: (t, count, path = '/testhub') =>
      Promise.all(Array.from({ length: count }, () => connect(t, way, server.url + path))),
  }));
}

/** What a call is told whose connection ends without an error. */
export const canceled = { message: 'Invocation canceled due to the underlying connection being closed.' };

/** What a call is told when the server has vanished. */
export const cutOff = way => (way.cut ? { message: way.cut } : canceled);

/** A connection of the official client that remembers what reaches it. */
class Client {
  /** Messages of the hub protocol, as the client has parsed them; pings left out. */
  received = [];
  sent = [];
  messages;
  closes = new Inbox('onclose');
  reconnecting = new Inbox('onreconnecting');
  reconnected = new Inbox('onreconnected');

  constructor(builder, protocol) {
    const parse = protocol.parseMessages;
    protocol.parseMessages = (...input) => {
      const parsed = parse.apply(protocol, input).map(reference ? inOurWords : message => message);
      this.received.push(...parsed.filter(({ type }) => type !== MessageType.Ping).map(said));
      return parsed;
    };
    const write = protocol.writeMessage;
    protocol.writeMessage = message => {
      this.sent.push(message);
      return write.call(protocol, message);
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

  /** What a streaming method sends: its items, how it ends, and a way to give it up. */
  stream(method, ...args) {
    const items = new Inbox(`item of ${method}`);
    let subscription;
    const end = new Promise((complete, error) => {
      subscription = this.connection.stream(method, ...args).subscribe({ next: item => items.push(item), complete, error });
    });
    end.catch(() => {}); // where nobody asks
    return { items, end: () => within(end, `the end of ${method}`), dispose: () => subscription.dispose() };
  }

  /** All items of a stream that ends. */
  async streamed(method, ...args) {
    const { items, end } = this.stream(method, ...args);
    await end();
    return items.take(items.size);
  }

  receivedOfType(type) { return this.received.filter(message => message.type === type); }
}

/**
 * A client that is not started yet; options are those of withUrl, retryDelay, with which it reconnects by itself, and stateful: it keeps its
 * connection when it loses a WebSocket.
 */
export function newClient(t, way, url, { retryDelay, stateful, protocol = way.protocol(), ...options } = {}) {
  const builder = new HubConnectionBuilder().withUrl(url, { ...way.options, ...options }).configureLogging(LogLevel.None);
  if (stateful) builder.withStatefulReconnect();
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
 * The client that the server turns away after the handshake, and the error that it gets. Where the server's Close reaches it together
 * with the handshake's answer, start() fails with the error; else start() succeeds, and onclose has it. The original does both.
 *
 * Over Server-Sent Events start() waits for the answer to a ping, too. Where that comes behind the end, it fails with 404, and the client
 * says no more than that; against the original as well. Then another client is made.
 */
export async function turnedAway(way, newClient) {
  for (let late = 0; ;) {
    const client = newClient();
    try {
      await client.start();
    } catch (error) {
      if (way.transport === 'ServerSentEvents' && error.statusCode === 404 && late++ < 20) continue;
      return { client, error };
    }
    return { client, error: await client.closes.next() };
  }
}

/** Waits until condition gives something, and returns that. */
export function until(condition, what) {
  let late = false;
  return within((async () => {
    while (!late) {
      const found = await condition();
      if (found) return found;
      await new Promise(setImmediate);
    }
  })(), what).finally(() => { late = true; });
}

/** How a connection, or what else the hub keeps a name of, has ended for it. */
export function fateOf(id, witness) {
  return until(() => witness.invoke('Fate', id), `the end of ${id}`);
}
