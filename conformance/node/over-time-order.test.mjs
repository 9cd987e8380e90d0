// Calls of one client begin in the order in which it sent them, however many of them may run at once, and streams like the others.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect, upTo } from './client.mjs';
import { messages, newKey, overTime } from './later.mjs';
import { call, completed, streamed, withUploads } from './raw.mjs';

/** Writes messages a hundred at a time. */
async function writeAll(client, all) {
  for (let i = 0; i < all.length; i += 100) await client.write(...all.slice(i, i + 100));
}

/** What a client is sent before the last message, which it has the server send. */
async function upToTheEnd(client) {
  await client.write(call('ToCaller', 'the end'));
  let count = 1, sent;
  while (!(sent = await messages(client, count)).includes('the end')) count = sent.length + 1;
  return sent.slice(0, sent.indexOf('the end'));
}

overTime(server => {
  const { way, laterTest, noted } = server;

  for (const method of ['ToCaller', 'ToGroup']) {
    test(`3,000 quick calls of ${method}, ten at once`, async t => {
      const client = await connect(t, way, `${server.url}/testhub`);
      const group = newKey();
      await client.invoke('Join', group);
      const sends = [];
      for (const i of upTo(3000)) {
        sends.push(client.connection.send(method, ...(method === 'ToGroup' ? [group] : []), String(i)));
        if (i % 25 === 0) await new Promise(setImmediate); // several writes of several messages
      }
      await Promise.all(sends);
      assert.deepEqual(await client.messages.take(3000), upTo(3000).map(String));
    });
  }

  test('join, send to the group, leave, send to the group', async t => {
    const client = await server.connect(t, '/testhub');
    const key = newKey();
    await writeAll(client, upTo(200).flatMap(i => {
      const group = `${key}-${i}`;
      return [call('Join', group), call('ToGroup', group, `in ${i}`), call('Leave', group), call('ToGroup', group, `out ${i}`)];
    }));
    assert.deepEqual(await upToTheEnd(client), upTo(200).map(i => `in ${i}`));
  });

  for (const [path, limit] of [['/later', 10], ['/later-one', 1]]) {
    laterTest(`a stream that joins a group, and a send to the group, limit ${limit}`, async t => {
      const client = await server.connect(t, path);
      const key = newKey();
      for (const i of upTo(100)) {
        const group = `${key}-${i}`;
        await client.write(streamed(`s${i}`, 'StreamJoin', group), call('ToGroup', group, `in ${i}`));
      }
      assert.deepEqual(await upToTheEnd(client), upTo(100).map(i => `in ${i}`));
    });

    laterTest(`an upload that joins a group, and a send to the group, limit ${limit}`, async t => {
      const client = await server.connect(t, path);
      const key = newKey();
      for (const i of upTo(100)) {
        const group = `${key}-${i}`;
        await client.write(withUploads(call('UploadJoin', group), `u${i}`), call('ToGroup', group, `in ${i}`), completed(`u${i}`));
      }
      assert.deepEqual(await upToTheEnd(client), upTo(100).map(i => `in ${i}`));
    });

    laterTest(`streams and calls begin in their order, limit ${limit}`, async t => {
      const client = await server.connect(t, path);
      const key = newKey();
      for (const i of upTo(100)) await client.write(streamed(`s${i}`, 'StreamNote', key, `stream ${i}`), call('Note', key, `call ${i}`));
      assert.deepEqual(await noted(key, 'call 99'), upTo(100).flatMap(i => [`stream ${i}`, `call ${i}`]));
    });
  }
});
