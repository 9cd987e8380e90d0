// A client that can do what the official ones cannot: write several messages at once, leave in the middle, stay away between two polls.
// It speaks the hub protocol by the official client's own classes.
import { Buffer } from 'node:buffer';
import http from 'node:http';
import { setTimeout as pass } from 'node:timers/promises';
import { MessageType } from '@microsoft/signalr';
import WebSocket from 'ws';
import { within } from './client.mjs';

const separator = 0x1e;
const silent = { log() {} };

/** Messages as a server takes them. */
export const call = (target, ...args) => ({ type: MessageType.Invocation, target, arguments: args, headers: {}, streamIds: [] });
export const invocation = (invocationId, target, ...args) => ({ ...call(target, ...args), invocationId });
export const streamed = (invocationId, target, ...args) => ({ ...invocation(invocationId, target, ...args), type: MessageType.StreamInvocation });
export const withUploads = (message, ...streamIds) => ({ ...message, streamIds });
export const item = (invocationId, value) => ({ type: MessageType.StreamItem, invocationId, item: value, headers: {} });
export const completed = (invocationId, error) => ({ type: MessageType.Completion, invocationId, headers: {}, ...(error === undefined ? {} : { error }) });
export const answer = (invocationId, result) => ({ type: MessageType.Completion, invocationId, result, headers: {} });
export const cancel = invocationId => ({ type: MessageType.CancelInvocation, invocationId, headers: {} });
/** A message that nobody can read: no JSON; in MessagePack, a record of the one byte that means nothing. */
export const unreadable = ({ binary }) => Buffer.from(binary ? [1, 0xc1] : 'xx\u001e');
export const goodbye = { type: MessageType.Close };

/** Rings whenever something has happened that somebody may wait for. One can do for several clients. */
export class Bell {
  #waiting = [];

  ring() { for (const wake of this.#waiting.splice(0)) wake(); }

  /** Waits until condition, which looks at what rings this bell, gives something, and returns that. */
  async until(condition, what) {
    let late = false;
    const found = async () => {
      for (let result; !late; await new Promise(wake => this.#waiting.push(wake))) if ((result = condition())) return result;
    };
    return within(found(), what).finally(() => { late = true; });
  }
}

export class RawClient {
  /** Messages of the server, pings left out, in the order in which they came. */
  received = [];
  /** How the connection ended, as its transport tells: "1000", "end of the stream", "204". Undefined while it is open. */
  ended = undefined;
  /** How long a client that polls is away after each poll, in milliseconds. */
  pollPause = 0;
  /** Is given each message when it comes, and may answer it. */
  onMessage = () => {};

  #protocol;
  #transport;
  #skipNegotiation;
  #url;
  #rest = Buffer.alloc(0);
  #greeted = false;
  #posts = Promise.resolve();
  #agent = new http.Agent({ keepAlive: true });
  #pollAgent = new http.Agent({ keepAlive: true });
  #socket;
  #stream;
  #away = false;

  constructor({ transport, protocol, options }, url, bell = new Bell()) {
    this.bell = bell;
    this.#protocol = protocol();
    this.#transport = transport;
    this.#skipNegotiation = options?.skipNegotiation;
    this.#url = new URL(url);
  }

  /** Connects and shakes hands. polls: false leaves it to the caller to poll. */
  async start({ polls = true } = {}) {
    await this.open({ polls });
    if (this.#transport === 'LongPolling' && !polls) while (!this.#greeted && this.ended === undefined) await this.poll();
    await this.bell.until(() => this.#greeted || this.ended !== undefined, 'the answer to the handshake');
    return this;
  }

  async open({ polls = true } = {}) {
    if (!this.#skipNegotiation) {
      const { status, body } = await this.#request('POST', { path: '/negotiate', query: { negotiateVersion: 1 } });
      if (status !== 200) throw new Error(`negotiate: status ${status}`);
      const { connectionId, connectionToken } = JSON.parse(body);
      this.id = connectionId;
      this.#url.searchParams.set('id', connectionToken);
    }
    if (this.#transport === 'WebSockets') await this.#openSocket();
    else if (this.#transport === 'ServerSentEvents') await this.#openStream();
    else {
      await this.#request('GET', { agent: this.#pollAgent });
      if (polls) this.#pollOn();
    }
    const { name, version } = this.#protocol;
    await this.#write(Buffer.from(`${JSON.stringify({ protocol: name, version })}\u001e`));
  }

  #openSocket() {
    const url = new URL(this.#url);
    url.protocol = 'ws:';
    this.#socket = new WebSocket(url, { perMessageDeflate: false });
    this.#socket.on('message', data => this.#take(Buffer.from(data))).on('close', code => this.#end(String(code)));
    return within(new Promise((open, failed) => this.#socket.once('open', open).once('error', failed)), 'the WebSocket')
      .finally(() => this.#socket.on('error', () => {}));
  }

  #openStream() {
    return within(new Promise((open, failed) => {
      const request = http.get(this.#url, { headers: { Accept: 'text/event-stream' }, agent: false }, response => {
        if (response.statusCode !== 200) return failed(new Error(`event stream: status ${response.statusCode}`));
        this.#stream = request;
        let text = '';
        response.setEncoding('utf8').on('data', more => {
          const events = (text + more).split('\r\n\r\n');
          text = events.pop();
          for (const event of events) {
            const lines = event.split('\r\n').filter(line => line.startsWith('data: ')).map(line => line.slice('data: '.length));
            if (lines.length) this.#take(Buffer.from(lines.join('\n')));
          }
        });
        response.on('end', () => this.#end('end of the stream')).on('error', () => this.#end('the stream breaks off'));
        open();
      }).on('error', failed);
    }), 'the event stream');
  }

  /** One poll, and its status. */
  async poll() {
    const { status, body } = await this.#request('GET', { agent: this.#pollAgent });
    if (status === 200) this.#take(body);
    else this.#end(String(status));
    return status;
  }

  async #pollOn() {
    try {
      while (this.ended === undefined && !this.#away) {
        await this.poll();
        if (this.pollPause) await pass(this.pollPause);
      }
    } catch (error) {
      this.#end(error.code ?? error.message);
    }
  }

  #end(how) {
    this.ended ??= how;
    this.bell.ring();
  }

  #request(method, { path = '', query = {}, body, agent = this.#agent } = {}) {
    const url = new URL(this.#url);
    url.pathname += path;
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const answered = new Promise((done, failed) => {
      const headers = body === undefined ? {} : { 'Content-Length': body.length };
      const request = http.request(url, { method, headers, agent }, async response => {
        const parts = [];
        response.on('data', part => parts.push(part)).on('end', () => done({ status: response.statusCode, body: Buffer.concat(parts) })).on('error', failed);
      }).on('error', failed);
      request.end(body);
    });
    // A poll may wait for long.
    return method === 'GET' ? answered : within(answered, `the answer to ${method}`);
  }

  #take(data) {
    if (!this.#greeted) {
      data = Buffer.concat([this.#rest, data]);
      const end = data.indexOf(separator);
      if (end < 0) {
        this.#rest = data;
        return;
      }
      this.refused = JSON.parse(data.subarray(0, end)).error;
      this.#greeted = true;
      this.bell.ring();
      data = data.subarray(end + 1);
    }
    if (!data.length) return;
    const binary = this.#protocol.name !== 'json';
    const input = binary ? Uint8Array.from(data).buffer : data.toString();
    for (const message of this.#protocol.parseMessages(input, silent)) {
      if (message.type === MessageType.Ping) continue;
      this.received.push(message);
      this.onMessage(message);
    }
    this.bell.ring();
  }

  /** Writes messages as one: in one frame, or in the body of one POST. It is over when they have left, or the POST is answered. */
  write(...messages) {
    return this.writeBytes(Buffer.concat(messages.map(message => Buffer.from(this.#protocol.writeMessage(message)))));
  }

  writeBytes(bytes) { return this.#write(bytes, this.#protocol.name !== 'json'); }

  #write(bytes, binary = false) {
    if (this.#transport === 'WebSockets') return new Promise(done => this.#socket.send(bytes, { binary }, () => done()));
    this.#posts = this.#posts.then(() => this.#request('POST', { body: bytes }));
    return this.#posts.then(({ status }) => status, () => undefined);
  }

  /** Leaves as the official clients do: with a Close, and with the end of the transport behind it. */
  async stop() {
    if (this.#transport === 'LongPolling') this.#away = true;
    await this.write(goodbye);
    await this.leave();
  }

  /** Ends the transport in its own way: a close frame, the end of the event stream, DELETE. */
  async leave() {
    if (this.#transport === 'WebSockets') return this.#socket.close(1000);
    await this.#posts.catch(() => {});
    if (this.#transport === 'LongPolling') {
      this.#away = true;
      await this.#request('DELETE');
    }
    this.drop();
  }

  /** Ends the TCP connections, without a word. */
  drop() {
    this.#away = true;
    if (this.#transport === 'WebSockets') this.#socket._socket.end();
    else if (this.#transport === 'ServerSentEvents') this.#stream?.destroy();
    this.#agent.destroy();
    this.#pollAgent.destroy();
    if (this.#transport !== 'WebSockets') this.#end('left');
  }

  /** Ends everything that may be left behind a test. */
  dispose() {
    this.#away = true;
    this.#socket?.terminate();
    this.#stream?.destroy();
    this.#agent.destroy();
    this.#pollAgent.destroy();
  }

  ofType(type) { return this.received.filter(message => message.type === type); }

  /** What was sent to this method of the client: the first argument of each message. */
  sentTo(target = 'Message') {
    return this.ofType(MessageType.Invocation).filter(message => message.target === target).map(message => message.arguments[0]);
  }
}

/** A client that is connected until the end of the test. */
export async function connectRaw(t, way, url, options) {
  const client = new RawClient(way, url);
  t.after(() => client.dispose());
  return client.start(options);
}
