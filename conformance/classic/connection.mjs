// The official JavaScript client of SignalR 2, in promises, with a memory of what reaches it. It runs in Node, and in a browser's page.
import { Inbox } from '../inbox.mjs';
import { within } from '../patience.mjs';

const states = { 0: 'connecting', 1: 'connected', 2: 'reconnecting', 4: 'disconnected' };

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
