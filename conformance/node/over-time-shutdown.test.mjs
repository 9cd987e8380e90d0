// What clients sent before the server shuts down is executed before that is over.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { reference, startServer } from '../server.mjs';
import { overEveryWay, until, within } from './client.mjs';
import { ended, newKey } from './later.mjs';
import { call, connectRaw, invocation } from './raw.mjs';

const leftOut = reference && 'Nobody can read the notes of the original\'s program when it has shut down.';

overEveryWay(way => {
  test('calls wait when the server shuts down', { skip: leftOut }, async t => {
    const server = await startServer();
    t.after(() => server.stop());
    const order = async (path, key = '') => (await fetch(`${server.control}/${path}?key=${key}`)).text();
    const read = async key => JSON.parse(await order('notes', key));
    const key = newKey();
    const client = await connectRaw(t, way, `${server.url}/later-one?key=${key}`);
    await client.write(invocation('first', 'Hold', key, 'call'), ...[1, 2, 3].map(i => call('Note', key, `note ${i}`)), invocation('last', 'Echo', 'x'));
    await until(async () => (await read(key)).includes('call begins'), 'the first call');
    const shutdown = order('shutdown');
    await until(async () => (await fetch(`${server.url}/later-one/negotiate?negotiateVersion=1`, { method: 'POST' })).status !== 200, 'the shutdown');
    await order('release', key);
    assert.equal(await within(shutdown, 'the shutdown'), '');
    await ended(client);
    assert.deepEqual((await read(key)).filter(note => note !== 'gone'), ['connected', 'call begins', 'call', 'note 1', 'note 2', 'note 3', 'disconnected']);
    // Who shut down tells it to reconnect; the answers came before that.
    assert.deepEqual(client.received.map(({ type, invocationId, allowReconnect }) => [type, invocationId ?? allowReconnect]), [[3, 'first'], [3, 'last'], [7, true]]);
  });
});
