// What a running method does to others, it does whether or not its client is still there.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MessageType } from '@microsoft/signalr';
import { reference } from '../server.mjs';
import { ended, messages, newKey, overTime } from './later.mjs';
import { answer, call, unreadable } from './raw.mjs';

overTime(server => {
  const { way, laterTest, noted, release } = server;
  const cuts = way.transport !== 'LongPolling'; // no server can notice at once that nobody polls any more

  const ends = [
    ['the client stops', client => client.stop()],
    ['the transport ends', client => client.leave()],
    ...(cuts ? [['the TCP connection ends', client => client.drop()]] : []),
    ['the server aborts', client => client.write(call('Abort'))],
    ['a message cannot be read', client => client.writeBytes(unreadable(way))],
  ];

  for (const [how, leave] of ends) {
    laterTest(`a running method sends, changes groups and asks: ${how}`, async t => {
      const key = newKey();
      const other = await server.witness(t, '/later');
      other.onMessage = ({ type, invocationId }) => { if (type === MessageType.Invocation && invocationId) other.write(answer(invocationId, 'yes')); };
      await other.write(call('Join', `${key}-old`));
      await other.write(call('ToCaller', 'ready'));
      await messages(other, 1);
      const client = await server.connect(t, `/later?key=${key}`);
      await client.write(
        call('SendLater', key, other.id, 'to you'), call('GroupLater', key, `${key}-old`, 'to the group'),
        call('AddLater', key, other.id, `${key}-new`), call('AskLater', key, other.id, 'really?'));
      for (const method of ['SendLater', 'GroupLater', 'AddLater', 'AskLater']) await noted(key, `${method} begins`);
      await leave(client);
      await noted(key, 'gone', 4);
      await release(key);
      await noted(key, 'added');
      await noted(key, 'sent');
      await noted(key, 'sent to the group');
      await noted(key, 'answered: yes');
      await other.write(call('ToGroup', `${key}-new`, 'to the new group'));
      assert.deepEqual((await messages(other, 4)).toSorted(), ['ready', 'to the group', 'to the new group', 'to you']);
      const all = await noted(key, 'disconnected');
      assert.equal(all.filter(note => note === 'disconnected').length, 1);
    });

    if (how === 'the server aborts') continue; // no call of the client's is executed yet
    laterTest(`OnConnected runs while it happens: ${how}`, async t => {
      const key = newKey();
      const other = await server.witness(t, '/later');
      await other.write(call('Join', key), call('ToCaller', 'ready'));
      await messages(other, 1);
      const client = server.newClient(t, `/later?key=${key}&hold=1&greet=${key}`);
      await client.open();
      await noted(key, 'OnConnected begins');
      await leave(client);
      // A message that cannot be read may not be looked at before OnConnected has returned.
      if (how !== 'a message cannot be read' && how !== 'the client stops') await noted(key, 'gone');
      await release(key);
      const all = await noted(key, 'disconnected');
      assert.deepEqual(all.filter(note => note !== 'gone'), ['OnConnected begins', 'greeted', 'connected', 'disconnected']);
      assert.deepEqual(await messages(other, 2), ['ready', 'welcome']);
      if (client.ended === undefined) await ended(client);
    });
  }

  for (const [how, last, end] of [
    ['the server aborts', 'AbortLater', (client, key) => release(`${key}-abort`)],
    ['a message cannot be read', 'Hold', client => client.writeBytes(unreadable(way))],
  ]) {
    const leftOut = reference && 'The original does not look behind what waits, and goes on with what it has read.';
    test(`what runs goes on, what waits is dropped: ${how}`, { skip: leftOut }, async t => {
      const key = newKey();
      const client = await server.connect(t, `/later?key=${key}`);
      const running = Array.from({ length: 9 }, (_, i) => `call ${i}`);
      await client.write(...running.map(text => call('Hold', key, text)), call(last, key, ...(last === 'Hold' ? ['call 9'] : [])));
      for (const text of running) await noted(key, `${text} begins`);
      if (last === 'AbortLater') await noted(`${key}-abort`, 'AbortLater begins');
      else await noted(key, 'call 9 begins');
      await client.write(call('Note', key, 'waited'));
      await end(client, key);
      await noted(key, 'gone', 10);
      await release(key);
      for (const text of [...running, last === 'Hold' ? 'call 9' : 'aborted']) await noted(key, text);
      assert.ok(!(await noted(key, 'disconnected')).includes('waited'));
    });
  }
});
