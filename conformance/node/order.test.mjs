// What comes first, and what runs at the same time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MessageType } from '@microsoft/signalr';
import { againstServer, idsOf, upTo } from './client.mjs';

/** Calls a method once for each argument without waiting, and tells in which order the results came. */
async function orderOfResults(client, calls) {
  const order = [];
  await Promise.all(calls.map(async ([method, argument]) => { order.push(await client.invoke(method, argument)); }));
  return order;
}

againstServer([], ({ connect, connectAll }) => {
  test('sends arrive in order', async t => {
    // This hub runs one call of a client after the other.
    const [sender, receiver] = await connectAll(t, 2, '/bench');
    const received = receiver.callback('Receive');
    const [, id] = await idsOf(sender, receiver);
    for (const i of upTo(1000)) await sender.send('SendTo', id, i, 'hello');
    assert.deepEqual(await received.take(1000), upTo(1000).map(i => [i, 'hello']));
  });

  test('a burst of messages arrives in order, and before the result', async t => {
    const client = await connect(t);
    const numbers = client.callback('Number');
    await client.invoke('Burst', 5000);
    assert.equal(numbers.size, 5000);
    assert.deepEqual(await numbers.take(5000), upTo(5000));
  });

  test('what a method sends to its caller comes before its result', async t => {
    const client = await connect(t);
    for (let i = 0; i < 100; i++) {
      await client.invoke('ToCaller', `message ${i}`);
      assert.equal(client.messages.size, 1);
      assert.equal(await client.messages.next(), `message ${i}`);
    }
    const types = client.received.map(({ type }) => type);
    assert.deepEqual(types, Array(100).fill([MessageType.Invocation, MessageType.Completion]).flat());
  });

  test('calls run at the same time up to the limit', async t => {
    const client = await connect(t);
    const nine = Promise.allSettled(upTo(9).map(() => client.connection.invoke('Slow', 600_000)));
    assert.equal(await client.invoke('Echo', 'the tenth'), 'the tenth');
    await client.stop();
    await nine;
  });

  test('a call above the limit waits for one of those that run', async t => {
    const client = await connect(t);
    const started = performance.now();
    const ten = upTo(10).map(() => client.invoke('Slow', 500));
    assert.equal(await client.invoke('Echo', 'the eleventh'), 'the eleventh');
    // Which of them is heard of first is open, but no time passes faster than on a clock.
    assert.ok(performance.now() - started > 490, `after ${performance.now() - started} ms`);
    assert.deepEqual(await Promise.all(ten), Array(10).fill(500));
  });

  test('calls run one after the other where the limit is one', async t => {
    const client = await connect(t, '/bench');
    assert.deepEqual(await orderOfResults(client, [['Slow', 100], ['Slow', 50], ['Echo', 'echo'], ['Slow', 0]]), [100, 50, 'echo', 0]);
    const texts = upTo(500).map(String);
    assert.deepEqual(await orderOfResults(client, texts.map(text => ['Echo', text])), texts);
  });

  test('a client that waits does not hold up another', async t => {
    const [busy, other] = await connectAll(t, 2, '/bench');
    // A machine that has much else to do may answer late. A hub that holds the other up does so however long the call takes.
    for (let ms = 250, first; first !== 'hello'; ms *= 2) {
      assert.ok(ms < 30_000, 'the other was never answered first');
      const slow = busy.invoke('Slow', ms);
      first = await Promise.race([other.invoke('Echo', 'hello'), slow]);
      assert.equal(await slow, ms);
    }
  });
});
