// A client that polls is away for a while, and its connection ends meanwhile. It gets what it was sent, and the reason, when it comes back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pass } from 'node:timers/promises';
import { MessageType } from '@microsoft/signalr';
import { messages, overTime } from './later.mjs';
import { call, unreadable } from './raw.mjs';

overTime(server => {
  if (server.way.transport !== 'LongPolling') return;

  for (const [how, end] of [
    ['the server aborts', client => client.write(call('Abort'))],
    ['a message cannot be read', client => client.writeBytes(unreadable(server.way))],
  ]) {
    // Longer than servers wait for a client to take its Close, shorter than they wait for a poll. The time itself is what is tested.
    for (const seconds of [0, 7]) {
      test(`away for ${seconds} s: ${how}`, async t => {
        const witness = await server.witness(t, '/testhub');
        const client = await server.connect(t, '/testhub', { polls: false });
        await client.write(...['one', 'two', 'three'].map(text => call('ToAll', text)));
        await messages(witness, 3);
        await end(client);
        await pass(seconds * 1000);
        while (client.ended === undefined) await client.poll();
        assert.deepEqual(client.sentTo(), ['one', 'two', 'three']);
        const closes = client.ofType(MessageType.Close);
        assert.equal(closes.length, 1);
        assert.equal(Boolean(closes[0].error), how === 'a message cannot be read');
        assert.ok(['204', '404'].includes(client.ended), `the last poll: ${client.ended}`);
      });
    }
  }
});
