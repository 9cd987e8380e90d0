// What the tests of events over time share: the hubs of testserver/later.go, orders for them, and a witness.
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { reference, startServer } from '../server.mjs';
import { json, overEveryWay, until, within } from './client.mjs';
import { RawClient, connectRaw } from './raw.mjs';

const witnessWay = { transport: 'WebSockets', ...json };

/** The same key is good for the notes of a test, for its gate, and for the names of its groups. */
export const newKey = () => randomUUID();

/** Waits until a client has been sent so many messages, and returns the first argument of each. */
export async function messages(client, count, target) {
  await client.bell.until(() => client.sentTo(target).length >= count, `${count} messages`)
    .catch(error => { throw new Error(`${error.message}; there came ${client.sentTo(target).length}`); });
  return client.sentTo(target);
}

/** Waits until a client's connection has ended, and returns how. */
export async function ended(client) {
  await client.bell.until(() => client.ended !== undefined, 'the end of the connection');
  return client.ended;
}

/** Runs the tests that define defines over each way to connect, against one test server. */
export function overTime(define) {
  let server, lacking;
  before(async () => {
    server = await startServer();
    const { status } = await fetch(`${server.url}/later/negotiate?negotiateVersion=1`, { method: 'POST' });
    if (reference && status === 404) lacking = 'The original\'s program has no methods that wait for an order.';
  });
  after(() => server?.stop());
  const order = async (path, key = '') => (await within(fetch(`${server.control}/${path}?key=${key}`), path)).text();
  const read = async key => JSON.parse(await order('notes', key));
  overEveryWay(way => define({
    way,
    get url() { return server.url; },
    get control() { return server.control; },

    /** A test that needs the hubs with methods that wait. */
    laterTest: (name, run) => test(name, async t => (lacking ? t.skip(lacking) : run(t))),

    connect: (t, path, options) => connectRaw(t, way, server.url + path, options),
    /** A client that is not connected yet. */
    newClient(t, path) {
      const client = new RawClient(way, server.url + path);
      t.after(() => client.dispose());
      return client;
    },
    /** Somebody else, who stays, and whose id is known. */
    witness: (t, path) => connectRaw(t, witnessWay, server.url + path),

    /** Lets everything go on that waits under a key. */
    release: key => order('release', key),
    /** Waits until so many have noted this under a key, and returns all notes, in order. */
    noted: async (key, text, count = 1) => {
      let notes = [];
      const enough = async () => (notes = await read(key)).filter(note => note === text).length >= count;
      await until(enough, `${count} × "${text}"`).catch(error => { throw new Error(`${error.message}; noted: ${notes.join(', ')}`); });
      return notes;
    },
  }));
}
