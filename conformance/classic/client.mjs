// The official JavaScript client of SignalR 2, in promises, with a memory of what reaches it; and what the suites share.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { setTimeout as pass } from 'node:timers/promises';
import { startServer } from '../server.mjs';
import { within } from '../node/client.mjs';
import { Inbox } from '../inbox.mjs';
import { current, openPage } from './page.mjs';

export { upTo, within } from '../node/client.mjs';

/** Times that are as short as the original lets them be. */
export const flags = ['-disconnect', '6s', '-keepalive', '2s', '-connection', '5s'];

export const transports = ['webSockets', 'serverSentEvents', 'longPolling'];

const states = { 0: 'connecting', 1: 'connected', 2: 'reconnecting', 4: 'disconnected' };

/** Waits until condition, which asks somebody else, gives something, and returns that. */
export function until(condition, what) {
  let late = false;
  return within((async () => {
    for (; !late; await pass(50)) {
      const found = await condition();
      if (found) return found;
    }
  })(), what).finally(() => { late = true; });
}

/** A value of a page as one of ours: their prototypes differ. */
export const ours = value => (value === undefined ? undefined : JSON.parse(JSON.stringify(value)));

/** The error of a call. source is "HubException" or "Exception", data what a HubException brings along. */
function ourError(error) {
  const { message, source, data } = error;
  return Object.assign(new Error(message), { source, data: ours(data) });
}

/** A deferred of jQuery as a promise. */
const promised = deferred => new Promise((done, failed) => deferred.then(value => done(value), error => failed(ourError(error))));

/** Gives one item for one argument, and a list for several. */
const single = args => (args.length === 1 ? ours(args[0]) : args.map(ours));

export class Client {
  /** Everything that the connection receives, before the client looks for a callback: calls of callbacks, progress, results. */
  received = [];
  /** The states that it has had, as "connected". */
  states = new Inbox('change of the state');
  errors = new Inbox('error');
  #transport;
  #generated;

  /** generated: the page's own connection, with generated proxies. */
  constructor(page, path, { transport, qs, generated = false }) {
    this.page = page;
    this.#transport = transport;
    this.#generated = generated;
    if (generated) {
      this.connection = page.jQuery.connection.hub;
      this.connection.qs = qs;
    } else {
      this.connection = page.jQuery.hubConnection(path, { qs, useDefaultPath: false });
    }
    this.connection.stateChanged(({ newState }) => this.states.push(states[newState]));
    this.connection.received(message => { this.received.push(ours(message)); });
    this.connection.error(error => this.errors.push(error.message));
  }

  get id() { return this.connection.id; }

  proxy(hub = 'testHub') { return this.#generated ? this.page.jQuery.connection[hub] : this.connection.createHubProxy(hub); }

  /** Collects the arguments of a callback: a single one as it is, several as an array. Before start, it also makes the hub one of the connection. */
  on(method, hub = 'testHub') {
    const inbox = new Inbox(`${hub}.${method}`);
    const callback = (...args) => { inbox.push(single(args)); };
    if (this.#generated) this.proxy(hub).client[method] = callback;
    else this.proxy(hub).on(method, callback);
    return inbox;
  }

  get state() { return ours(this.proxy().state); }
  set state(state) { this.proxy().state = state; }

  start(options = {}) { return within(promised(this.connection.start({ transport: this.#transport, ...options })), 'start'); }
  stop() { this.connection.stop(); }

  invoke(method, ...args) { return this.invokeOn('testHub', method, ...args); }
  invokeOn(hub, method, ...args) {
    return within(promised(this.proxy(hub).invoke(method, ...args)).then(ours), `${hub}.${method}`);
  }

  /** A call whose method reports progress: its result, and what it was told before. */
  async invokeWithProgress(method, ...args) {
    const reports = [];
    const deferred = this.proxy().invoke(method, ...args);
    deferred.progress(report => { reports.push(ours(report)); });
    const result = ours(await within(promised(deferred), method));
    return { result, reports: [...reports] };
  }
}

/** Runs the tests that define defines over each transport. TROUPE_WAYS=text,text takes those alone whose names have one of the texts. */
export function overEveryTransport(define) {
  const chosen = process.env.TROUPE_WAYS?.split(',');
  for (const transport of transports) {
    const skip = chosen && !chosen.some(text => transport.includes(text)) && 'TROUPE_WAYS leaves it out.';
    describe(transport, { skip }, () => define(transport));
  }
}

/** An order at the control port. Lists are given as several parameters of one name. */
export async function order(server, path, query = {}) {
  const url = new URL(`${server.control}/classic/${path}`);
  for (const [name, values] of Object.entries(query)) for (const value of [values].flat()) url.searchParams.append(name, value);
  const answer = await within(fetch(url), path);
  const text = await answer.text();
  assert.equal(answer.status, 200, `${url}: ${text}`);
  return text ? JSON.parse(text) : undefined;
}

/** A test server, with a page for all tests of a file. */
export function serverForAll({ client = current, proxies, more = [] } = {}) {
  let server, page;
  before(async () => {
    server = await startServer([...flags, ...more]);
    page = await openPage(server.url, { client, proxies });
  });
  after(async () => {
    page?.close();
    await server?.stop();
    if (page) assert.deepEqual(page.errors, [], 'errors in the page');
  });
  return {
    get page() { return page; },
    get url() { return server.url; },
    get port() { return server.port; },
    get server() { return server; },
    order: (path, query) => order(server, path, query),
    eventsOf: id => order(server, 'events', { id }),

    /** Waits until the log of a connection has such an entry, and returns the log. */
    logged(id, entry) {
      const has = log => log.some(text => (entry instanceof RegExp ? entry.test(text) : text === entry));
      let last;
      return until(async () => has(last = await order(server, 'events', { id })) && last, `"${entry}" for ${id}`)
        .catch(error => { throw new Error(`${error.message}; its log: ${JSON.stringify(last)}`); });
    },
  };
}

/** Runs the tests that define defines over each transport, with a test server and a page, which are returned for other tests. */
export function againstServer(define, options) {
  const shared = serverForAll(options);
  overEveryTransport(transport => {
    const newClient = (t, { path = '/signalr', page = shared.page, ...more } = {}) => {
      const client = new Client(page, path, { transport, ...more });
      t.after(() => client.stop());
      return client;
    };
    define({
      transport,
      shared,
      order: shared.order,
      newClient,

      /** A client that is connected until the end of the test, and what its callback "got" of TestHub has had, as client.got. */
      async connect(t, options) {
        const client = newClient(t, options);
        client.got = client.on('got');
        await client.start();
        return client;
      },
    });
  });
  return shared;
}

/** The error of a call that fails, in a server that does not tell why. */
export const generic = (method, hub = 'testhub') => ({ message: `There was an error invoking Hub method '${hub}.${method}'.`, source: 'Exception' });
