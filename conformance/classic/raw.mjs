// A client that does what the official one cannot: leave without a word, send what nobody should, come back with an older cursor. It speaks
// the protocol itself.
import assert from 'node:assert/strict';
import http from 'node:http';
import WebSocket from 'ws';
import { within } from '../node/client.mjs';
import { Inbox } from '../inbox.mjs';

/** connectionData for these hubs. */
export const dataFor = (...hubs) => JSON.stringify(hubs.map(name => ({ name })));

/** A query from an object; what is undefined is left out. */
function queryOf(parameters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) query.append(name, value);
  return String(query);
}

/**
 * One request and its answer. query is an object, or text that goes out as it is; form makes it a POST. The body is text; json() reads it.
 */
export function request(url, { method, query = '', form, headers = {}, agent } = {}) {
  const { hostname, port, pathname } = new URL(url);
  const text = typeof query === 'string' ? query : queryOf(query);
  const body = form && queryOf(form);
  return within(new Promise((done, failed) => {
    const sent = http.request({
      hostname, port, agent, path: pathname + (text && `?${text}`), method: method ?? (form ? 'POST' : 'GET'),
      headers: { ...(form ? { 'Content-Type': 'application/x-www-form-urlencoded; charset=UTF-8', 'Content-Length': Buffer.byteLength(body) } : {}), ...headers },
    }, response => {
      const parts = [];
      response.on('data', part => parts.push(part)).on('error', failed).on('end', () => {
        const body = Buffer.concat(parts).toString();
        done({ status: response.statusCode, headers: response.headers, body, json: () => JSON.parse(body) });
      });
    });
    sent.on('error', failed).end(body);
  }), `${method ?? ''} ${url}`);
}

/** A receiving request that goes on: a WebSocket, an event stream, or one poll. frames are the texts that came over it. */
class Link {
  frames = new Inbox('frame');
  #end;
  #ended = new Promise(end => { this.#end = end; });

  constructor(onFrame) { this.onFrame = onFrame; }

  /** How it ended: "1000" for a WebSocket, "end" for a response, "cut" for anything else. */
  ended() { return within(this.#ended, 'the end of the link'); }

  take(text) {
    this.frames.push(text);
    this.onFrame(text);
  }

  end(how) { this.#end(how); }
}

function openSocket(link, url, headers) {
  const socket = new WebSocket(url.replace(/^http/, 'ws'), { headers, perMessageDeflate: false });
  link.cut = () => socket.terminate();
  link.send = data => socket.send(data);
  socket.on('message', data => link.take(data.toString())).on('close', code => link.end(code === 1006 ? 'cut' : String(code)));
  return within(new Promise((open, failed) => {
    socket.once('open', () => open(link)).on('error', failed);
    socket.once('unexpected-response', (_, response) => failed(Object.assign(new Error(`status ${response.statusCode}`), { status: response.statusCode })));
  }), 'the WebSocket');
}

/** A response whose body comes in parts; onText is given what has come, and returns what it has not used. */
function openResponse(link, url, { headers, form, onText, onEnd }) {
  return within(new Promise((open, failed) => {
    const body = form && queryOf(form);
    const sent = http.request(url, {
      method: form ? 'POST' : 'GET', agent: false,
      headers: { ...headers, ...(form ? { 'Content-Type': 'application/x-www-form-urlencoded; charset=UTF-8', 'Content-Length': Buffer.byteLength(body) } : {}) },
    }, response => {
      link.status = response.statusCode;
      link.headers = response.headers;
      if (response.statusCode !== 200) {
        failed(Object.assign(new Error(`status ${response.statusCode}`), { status: response.statusCode }));
        response.resume();
        return;
      }
      let rest = '';
      response.setEncoding('utf8').on('data', text => { rest = onText(rest + text); });
      response.on('end', () => { onEnd?.(rest); link.end('end'); }).on('error', () => link.end('cut'));
      open(link);
    });
    link.cut = () => sent.destroy();
    sent.on('error', error => { link.end('cut'); failed(error); });
    sent.end(body);
  }), url);
}

function openStream(link, url, headers) {
  const onText = text => {
    const events = text.split(/\r?\n\r?\n/);
    const rest = events.pop();
    for (const event of events) link.take(event.replace(/^data: /, ''));
    return rest;
  };
  return openResponse(link, url, { headers, onText });
}

/** A page that never ends, each message of which is a script. prologue is what comes before the first. */
function openFrame(link, url, headers) {
  const onText = text => {
    for (let match; (match = /^([^]*?)<script>r\(c, (.*?)\);<\/script>(\r\n|\n\n)/.exec(text)); text = text.slice(match[0].length)) {
      link.prologue ??= match[1];
      link.take(match[2]);
    }
    return text;
  };
  return openResponse(link, url, { headers, onText });
}

/** A poll. It ends with at most one frame. */
function openPoll(link, url, headers, form) {
  return openResponse(link, url, { headers, form, onText: text => text, onEnd: text => link.take(text) });
}

export class RawClient {
  /** What has come in M, in order: calls of callbacks, and progress. */
  messages = new Inbox('message');
  /** The parsed frames that have a cursor. */
  responses = [];
  /** Frames that are no JSON. */
  unreadable = [];
  cursor;
  groupsToken;
  link;
  #answers = new Map();
  #ids = 0;
  #away = false;
  #opening;

  /** url is that of the endpoint. polls: false leaves it to the caller to poll. */
  constructor(url, transport, { hubs = ['TestHub'], protocol = '2.0', qs = {}, headers = {}, polls = true } = {}) {
    Object.assign(this, { url, transport, protocol, qs, headers, polls, connectionData: dataFor(...hubs) });
  }

  #query(more = {}) {
    return { transport: this.transport, clientProtocol: this.protocol, ...this.qs, connectionToken: this.token, connectionData: this.connectionData, ...more };
  }

  async negotiate() {
    const { protocol: clientProtocol, connectionData, qs, headers } = this;
    const answer = await request(`${this.url}/negotiate`, { query: { clientProtocol, ...qs, connectionData }, headers });
    assert.equal(answer.status, 200, answer.body);
    this.negotiated = answer.json();
    this.token = this.negotiated.ConnectionToken;
    this.id = this.negotiated.ConnectionId;
    return this;
  }

  /** A request beside the receiving one. */
  request(suffix, { query, ...options } = {}) {
    return request(this.url + suffix, { headers: this.headers, query: this.#query(query), ...options });
  }

  start() { return this.request('/start'); }

  /** Ends the connection. A client that polls does not go on; a poll that is on its way arrives before. */
  async abort() {
    this.#away = true;
    await this.#opening?.catch(() => {});
    return this.request('/abort', { form: {} });
  }

  /** Negotiates, connects and starts. */
  async open() {
    await this.negotiate();
    await this.connect();
    const { status, body } = await this.start();
    assert.equal(status, 200, body);
    return this;
  }

  /** Makes the first receiving request, and waits for the init message. */
  async connect() {
    const link = await this.receive('/connect');
    await this.initialized(link);
    if (this.transport === 'longPolling' && this.polls) {
      await link.ended();
      this.#pollOn(await this.#nextPoll());
    }
    return link;
  }

  /** The init message. */
  async initialized(link) {
    for (;;) {
      const text = await link.frames.next();
      if (text !== 'initialized' && JSON.parse(text).S !== undefined) return JSON.parse(text);
    }
  }

  /** Comes back, as the client does: with its cursor and its groups, unless others are given. */
  async reconnect({ cursor = this.cursor, groupsToken = this.groupsToken } = {}) {
    Object.assign(this, { cursor, groupsToken });
    this.#away = false;
    const link = await this.receive('/reconnect', { messageId: cursor, groupsToken });
    if (this.transport === 'longPolling') this.#pollOn(link);
    return link;
  }

  #nextPoll() { return this.receive('/poll', { messageId: this.cursor, groupsToken: this.groupsToken }); }

  /** One poll; resolves when it is answered, and gives its text. */
  async poll() {
    const link = await this.#nextPoll();
    assert.equal(await link.ended(), 'end');
    return link.frames.next();
  }

  async #pollOn(link) {
    try {
      while (await link.ended() === 'end' && link === this.link && this.polls && !this.#away) link = await this.#nextPoll();
    } catch (error) {
      this.failure = error; // the server has gone, or does not want it any more
    }
  }

  /** A receiving request of whatever kind the transport is. What it brings is remembered. */
  receive(suffix, more = {}) {
    const link = this.link = new Link(text => this.#take(text));
    if (this.transport === 'longPolling') return this.#opening = openPoll(link, `${this.url}${suffix}?${queryOf(this.#query())}`, this.headers, more);
    const open = { webSockets: openSocket, serverSentEvents: openStream, foreverFrame: openFrame }[this.transport];
    return open(link, `${this.url}${suffix}?${queryOf(this.#query(more))}`, this.headers);
  }

  #take(text) {
    if (text === 'initialized') return;
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      this.unreadable.push(text);
      return;
    }
    if (frame.I !== undefined) {
      this.#answers.get(frame.I)?.({ text, frame });
    } else if (frame.C !== undefined) {
      this.responses.push(frame);
      this.cursor = frame.C;
      this.groupsToken = frame.G ?? this.groupsToken;
      for (const message of frame.M) this.messages.push(message);
    }
  }

  /** Ends the receiving request, as a network does that goes away. */
  cut() {
    this.#away = true;
    this.link?.cut();
  }

  /** Sends a text, as it is; gives the answer where the transport has one. */
  send(data) {
    if (this.transport !== 'webSockets') return this.request('/send', { form: { data } });
    this.link.send(data);
  }

  /** The answer to a call: its text, and what it says. */
  async answerTo(hub, method, args = [], more = {}) {
    const id = String(this.#ids++), data = JSON.stringify({ H: hub, M: method, A: args, I: Number(id), ...more });
    if (this.transport === 'webSockets') {
      const answered = new Promise(answer => this.#answers.set(id, answer));
      this.send(data);
      return within(answered, `${hub}.${method}`);
    }
    const { status, body } = await this.send(data);
    assert.equal(status, 200, body);
    return { text: body, frame: JSON.parse(body) };
  }

  /** The result of a call. */
  async invoke(method, ...args) {
    const { frame } = await this.answerTo('TestHub', method, args);
    assert.equal(frame.E, undefined);
    return frame.R;
  }

  /** The first arguments of the callbacks that came, without the names. */
  async got(count) { return (await this.messages.take(count)).map(({ A: [first] }) => first); }
}

/** A client that is connected until the end of the test. */
export async function connectRaw(t, url, transport, options) {
  const client = new RawClient(url, transport, options);
  t.after(() => client.cut());
  return client.open();
}
