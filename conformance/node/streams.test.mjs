// Streams from the server.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MessageType } from '@microsoft/signalr';
import { startServer } from '../server.mjs';
import { againstServer, canceled, connect, fateOf, overEveryWay, until, upTo } from './client.mjs';

const error = message => ({ message });

describe('detailed errors', () => againstServer([], ({ connect, connectAll }) => {
  test('items, and then the end', async t => {
    const client = await connect(t);
    assert.deepEqual(await client.streamed('Stream'), ['a', 'b', 'c']);
    assert.deepEqual(client.received, [
      ...['a', 'b', 'c'].map(item => ({ type: MessageType.StreamItem, invocationId: '0', item })),
      { type: MessageType.Completion, invocationId: '0' },
    ]);
    assert.deepEqual(await client.streamed('sTREAM'), ['a', 'b', 'c']);
  });

  test('no items', async t => {
    const client = await connect(t);
    assert.deepEqual(await client.streamed('EmptyStream'), []);
    assert.deepEqual(client.received, [{ type: MessageType.Completion, invocationId: '0' }]);
  });

  test('many items', async t => {
    const client = await connect(t);
    assert.deepEqual(await client.streamed('Counter', 5000, 0), upTo(5000));
  });

  test('items come as they are made', async t => {
    const client = await connect(t);
    const { items } = client.stream('Counter', 2, 600_000);
    assert.equal(await items.next(), 0);
    assert.equal(await client.invoke('Echo', 'meanwhile'), 'meanwhile');
  });

  test('two at once', async t => {
    const client = await connect(t);
    const [first, second] = [client.stream('InfiniteStream'), client.stream('InfiniteStream')];
    assert.deepEqual(await Promise.all([first.items.take(3), second.items.take(3)]), [[0, 1, 2], [0, 1, 2]]);
    assert.deepEqual(await client.streamed('Stream'), ['a', 'b', 'c']);
    first.dispose();
    const [third] = await second.items.take(1);
    assert.equal(third, 3);
    second.dispose();
  });

  test('streams do not count towards the limit of calls', async t => {
    const client = await connect(t);
    // Twelve streams do not keep a call waiting, and ten calls, which are all that may run, do not keep a stream waiting.
    const streams = Array.from({ length: 12 }, () => client.stream('InfiniteStream'));
    for (const { items } of streams) assert.equal(await items.next(), 0);
    assert.equal(await client.invoke('Echo', 'hello'), 'hello');
    const slow = Promise.allSettled(Array.from({ length: 10 }, () => client.connection.invoke('Slow', 600_000)));
    assert.deepEqual(await client.streamed('Stream'), ['a', 'b', 'c']);
    for (const stream of streams) stream.dispose();
    await client.stop();
    await slow;
  });

  test('a stream does not hold up another client', async t => {
    const [client, other] = await connectAll(t, 2);
    const { items } = client.stream('InfiniteStream');
    await items.next();
    assert.deepEqual(await other.streamed('Counter', 3, 1), [0, 1, 2]);
  });

  test('the end of a stream that is given up', async t => {
    const client = await connect(t);
    const { items, dispose } = client.stream('InfiniteStream');
    await items.take(3);
    dispose();
    const completion = await until(() => client.receivedOfType(MessageType.Completion)[0], 'the Completion');
    assert.deepEqual(completion, { type: MessageType.Completion, invocationId: '0' });
    const count = client.receivedOfType(MessageType.StreamItem).length;
    // What the server takes up now comes behind whatever it has sent for the stream.
    assert.equal(await client.invoke('Slow', 50), 50);
    assert.equal(client.receivedOfType(MessageType.StreamItem).length, count);
    assert.deepEqual(client.received.at(-1), { type: MessageType.Completion, invocationId: '1', result: 50 });
    assert.equal(client.closes.size, 0);
  });

  test('a stream that waits is given up', async t => {
    const client = await connect(t);
    const { items, dispose } = client.stream('Counter', 2, 600_000);
    await items.next();
    dispose();
    const completion = await until(() => client.receivedOfType(MessageType.Completion)[0], 'the Completion');
    assert.deepEqual(completion, { type: MessageType.Completion, invocationId: '0' });
  });

  test('a stream is given up that has ended', async t => {
    const client = await connect(t);
    const { items, end, dispose } = client.stream('Stream');
    await end();
    dispose();
    assert.equal(items.size, 3);
    assert.equal(await client.invoke('Echo', 'goes on'), 'goes on');
    assert.deepEqual(await client.streamed('Stream'), ['a', 'b', 'c']);
    assert.equal(client.receivedOfType(MessageType.Completion).length, 3);
  });

  test('a method that fails', async t => {
    const client = await connect(t);
    await assert.rejects(client.streamed('StreamThrowException', 'boom'),
      error(`An unexpected error occurred invoking 'StreamThrowException' on the server. Error: boom`));
    assert.deepEqual(await client.streamed('Stream'), ['a', 'b', 'c']);
  });

  test('wrong arguments', async t => {
    const client = await connect(t);
    await assert.rejects(client.streamed('Counter', 1),
      error(`Failed to invoke 'Counter' due to an error on the server. Error: Invocation provides 1 argument(s) but target expects 2.`));
    await assert.rejects(client.streamed('Counter', 'one', 0), error(`Failed to invoke 'Counter' due to an error on the server. Error: ` +
      'Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked.'));
  });

  test('unknown methods', async t => {
    const client = await connect(t);
    await assert.rejects(client.streamed('nOsUCH', 1), error(`Failed to invoke 'nOsUCH' due to an error on the server. HubException: Method does not exist.`));
  });

  test('a method that does not stream', async t => {
    const client = await connect(t);
    await assert.rejects(client.streamed('Echo', 'hello'), error(`The client attempted to invoke the non-streaming 'Echo' method with a streaming invocation.`));
    await assert.rejects(client.streamed('nOTHING'), error(`The client attempted to invoke the non-streaming 'Nothing' method with a streaming invocation.`));
  });

  test('a streaming method is not streamed', async t => {
    const client = await connect(t);
    await assert.rejects(client.invoke('Stream'), error(`The client attempted to invoke the streaming 'Stream' method with a non-streaming invocation.`));
    await assert.rejects(client.invoke('cOUNTER', 1, 0), error(`The client attempted to invoke the streaming 'Counter' method with a non-streaming invocation.`));
    await client.send('Stream');
    assert.equal(await client.invoke('Echo', 'goes on'), 'goes on');
    assert.deepEqual(client.receivedOfType(MessageType.StreamItem), []);
  });

  test('the server closes the connection', async t => {
    const client = await connect(t);
    const { items, end } = client.stream('InfiniteStream');
    await items.next();
    await client.send('Abort');
    await assert.rejects(end(), canceled);
    assert.equal(await client.closes.next(), undefined);
  });
}));

describe('generic errors', () => againstServer(['-detailed=false'], ({ connect }) => {
  test('a method that fails', async t => {
    const client = await connect(t);
    await assert.rejects(client.streamed('StreamThrowException', 'secret'), error(`An unexpected error occurred invoking 'StreamThrowException' on the server.`));
    await assert.rejects(client.streamed('Counter', 1), error(`Failed to invoke 'Counter' due to an error on the server.`));
  });
}));

// The hub keeps one note for all streams that were cancelled, so that these have a server of their own.
describe('what the method sees', () => overEveryWay(way => {
  for (const [what, giveUp] of [
    ['the client gives the stream up', (client, stream) => stream.dispose()],
    ['the client stops', client => client.stop()],
    ['the server closes the connection', client => client.send('Abort')],
  ]) {
    test(what, async t => {
      const server = await startServer();
      t.after(() => server.stop());
      const [client, witness] = await Promise.all([1, 2].map(() => connect(t, way, `${server.url}/testhub`)));
      const stream = client.stream('InfiniteStream');
      await stream.items.take(2);
      assert.equal(await witness.invoke('Fate', 'infinite'), null);
      await giveUp(client, stream);
      assert.equal(await fateOf('infinite', witness), 'cancelled');
    });
  }
}));
