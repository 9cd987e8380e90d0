// What the suites share.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { setTimeout as pass } from 'node:timers/promises';
import { startServer } from '../server.mjs';
import { within } from '../node/client.mjs';
import { Client } from './connection.mjs';
import { current, openPage } from './page.mjs';

export { upTo, within } from '../node/client.mjs';
export { Client } from './connection.mjs';

/** Times that are as short as the original lets them be. */
export const flags = ['-disconnect', '6s', '-keepalive', '2s', '-connection', '5s'];

export const transports = ['webSockets', 'serverSentEvents', 'longPolling'];

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

/** Runs the tests that define defines over each transport. TROUPE_WAYS=text,text takes those alone whose names have one of the texts. */
export function overEveryTransport(define, all = transports) {
  const chosen = process.env.TROUPE_WAYS?.split(',');
  for (const transport of all) {
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

/** Waits until the log of a connection has such an entry, and returns the log. */
export function logged(server, id, entry) {
  const has = log => log.some(text => (entry instanceof RegExp ? entry.test(text) : text === entry));
  let last;
  return until(async () => has(last = await order(server, 'events', { id })) && last, `"${entry}" for ${id}`)
    .catch(error => { throw new Error(`${error.message}; its log: ${JSON.stringify(last)}`); });
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
    logged: (id, entry) => logged(server, id, entry),
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
