// Many clients.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { againstServer } from './client.mjs';

againstServer([], server => {
  test('a broadcast to 100 clients', async t => {
    const clients = await server.connectAll(t, 100, '/bench');
    const inboxes = clients.map(client => client.callback('Receive'));
    for (let i = 0; i < 20; i++) await clients[i].invoke('Broadcast', i, 'from a hub');
    const fromHub = Array.from({ length: 20 }, (_, i) => [i, 'from a hub']);
    for (const inbox of inboxes) assert.deepEqual(await inbox.take(20), fromHub);

    const response = await fetch(`${server.url}/bench/broadcast?n=50&bytes=100`, { method: 'POST' });
    assert.equal(await response.text(), '50');
    const fromOutside = Array.from({ length: 50 }, (_, i) => [i, 'x'.repeat(100)]);
    for (const inbox of inboxes) assert.deepEqual(await inbox.take(50), fromOutside);
  });
});
