// Streams from the client.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MessageType, Subject } from '@microsoft/signalr';
import { againstServer, canceled, failed, fateOf, idsOf, until, upTo } from './client.mjs';

/** Feeds a stream to its end. */
function feed(subject, items) {
  for (const item of items) subject.next(item);
  subject.complete();
}

/** Waits until the server has so many messages of a type: the client sends those of streams in the background. */
async function sent(client, count, type) {
  await until(() => client.sent.filter(message => message.type === type).length === count, `sending of ${count} messages`);
  assert.equal(await client.invoke('Echo', 'goes on'), 'goes on');
}

/** These texts are the same with and without detailed errors. */
function alwaysTheSame(connect) {
  test('an error of the client reaches the method', async t => {
    const client = await connect(t);
    for (const [method, ...before] of [['UploadStream'], ['UploadSum', 1]]) {
      const subject = new Subject();
      const result = client.invoke(method, ...before, subject);
      subject.next(method === 'UploadSum' ? 1 : 'one');
      subject.error(new Error('é "quoted"'));
      await assert.rejects(result, failed(method, ' HubException: é "quoted"'));
    }
    assert.equal(await client.invoke('Echo', 'goes on'), 'goes on');
  });

  test('an error of the client reaches a method that streams', async t => {
    const client = await connect(t);
    const subject = new Subject();
    const { items, end } = client.stream('StreamEcho', subject);
    subject.next('one');
    assert.equal(await items.next(), 'echo:one');
    subject.error(new Error('no more'));
    await assert.rejects(end(), { message: 'An error occurred on the server while streaming results. HubException: no more' });
  });

  test('more or fewer streams than the method takes', async t => {
    const client = await connect(t);
    // The client overlooks a stream right behind another one.
    for (const [sent, expects, method, ...args] of [
      [0, 1, 'UploadStream'], [2, 1, 'UploadSum', new Subject(), 1, new Subject()], [1, 0, 'Nothing', new Subject()], [1, 0, 'Echo', 'hello', new Subject()],
    ]) {
      await assert.rejects(client.invoke(method, ...args), failed(method, ` HubException: Client sent ${sent} stream(s), Hub method expects ${expects}.`));
    }
    assert.equal(await client.invoke('Echo', 'goes on'), 'goes on');
  });
}

describe('detailed errors', () => againstServer([], ({ connect, connectAll }) => {
  alwaysTheSame(connect);

  test('items', async t => {
    const client = await connect(t);
    const subject = new Subject();
    const result = client.invoke('UploadStream', subject);
    feed(subject, ['one', ' ', 'two', '', ' thr\u00e9\u00e9 😀']);
    assert.equal(await result, 'one two thréé 😀');
    assert.deepEqual(client.received, [{ type: MessageType.Completion, invocationId: '1', result: 'one two thréé 😀' }]);
  });

  test('no items', async t => {
    const client = await connect(t);
    const subject = new Subject();
    const result = client.invoke('UploadStream', subject);
    subject.complete();
    assert.equal(await result, '');
  });

  test('an argument before the stream', async t => {
    const client = await connect(t);
    const subject = new Subject();
    const result = client.invoke('UploadSum', 5, subject);
    feed(subject, [1, 2, 3]);
    assert.equal(await result, 11);
  });

  test('many items', async t => {
    const client = await connect(t);
    const subject = new Subject();
    const { items, end } = client.stream('StreamEcho', subject);
    feed(subject, upTo(100).map(String));
    await end();
    assert.deepEqual(await items.take(items.size), upTo(100).map(i => `echo:${i}`));
  });

  test('items that are too large for one message only together', async t => {
    const client = await connect(t);
    const subject = new Subject();
    const result = client.invoke('UploadStream', subject);
    const texts = ['a', 'b', 'c'].map(letter => letter.repeat(20_000));
    feed(subject, texts);
    assert.equal(await result, texts.join(''));
  });

  test('both ways at once', async t => {
    const client = await connect(t);
    const subject = new Subject();
    const { items, end } = client.stream('StreamEcho', subject);
    for (const text of ['one', 'two', 'three']) {
      subject.next(text);
      assert.equal(await items.next(), `echo:${text}`);
    }
    subject.complete();
    await end();
    assert.equal(items.size, 0);
  });

  test('several at once', async t => {
    const client = await connect(t);
    const subjects = upTo(3).map(() => new Subject());
    const results = subjects.map((subject, i) => client.invoke('UploadSum', 100 * i, subject));
    for (const item of [1, 2, 3]) for (const subject of subjects) subject.next(item);
    for (const subject of subjects.toReversed()) subject.complete();
    assert.deepEqual(await Promise.all(results), [6, 106, 206]);
  });

  test('uploads do not count towards the limit of calls', async t => {
    const client = await connect(t);
    const subjects = upTo(12).map(() => new Subject());
    const results = subjects.map(subject => client.invoke('UploadStream', subject));
    assert.equal(await client.invoke('Echo', 'hello'), 'hello');
    for (const subject of subjects) feed(subject, ['x']);
    assert.deepEqual(await Promise.all(results), subjects.map(() => 'x'));
  });

  test('send', async t => {
    const client = await connect(t);
    const subject = new Subject();
    await client.send('UploadStream', subject);
    feed(subject, ['one', 'two']);
    await sent(client, 1, MessageType.Completion);
    assert.equal(client.received.length, 1);
  });

  test('an item of another type', async t => {
    const client = await connect(t);
    const subject = new Subject();
    const result = client.invoke('UploadSum', 5, subject);
    feed(subject, [1, 'two', 3]);
    await assert.rejects(result, ({ message }) => {
      assert.ok(message.startsWith(failed('UploadSum', ' HubException: Failed to bind Stream message.').message), message);
      return true;
    });
    await sent(client, 1, MessageType.Completion);
  });

  test('items for a method that has ended, or never began', async t => {
    const client = await connect(t);
    const [failing, unbound, unknown] = upTo(3).map(() => new Subject());
    const failure = assert.rejects(client.invoke('UploadSum', 0, failing));
    failing.next('no number');
    await failure;
    await assert.rejects(client.invoke('UploadSum', 'no number', unbound));
    await assert.rejects(client.invoke('nOsUCH', unknown));
    // More than the hub would keep of a stream that is not read.
    for (const subject of [failing, unbound, unknown]) feed(subject, upTo(20));
    await sent(client, 3, MessageType.Completion);
    assert.equal(client.closes.size, 0);
  });

  test('a stream that the client gives up while it feeds it', async t => {
    const client = await connect(t);
    const subject = new Subject();
    const { items, dispose } = client.stream('StreamEcho', subject);
    subject.next('one');
    assert.equal(await items.next(), 'echo:one');
    dispose();
    feed(subject, ['two']);
    const completion = await until(() => client.receivedOfType(MessageType.Completion)[0], 'the Completion');
    assert.deepEqual(completion, { type: MessageType.Completion, invocationId: '1' });
    await sent(client, 1, MessageType.Completion);
  });

  for (const [what, end] of [['the client stops', client => client.stop()], ['the server closes the connection', client => client.send('Abort')]]) {
    test(what, async t => {
      const [client, witness] = await connectAll(t, 2);
      const [id] = await idsOf(client);
      const subject = new Subject();
      const pending = assert.rejects(client.invoke('UploadStream', subject), canceled);
      subject.next('one');
      await sent(client, 1, MessageType.StreamItem);
      await end(client);
      await pending;
      assert.equal(await fateOf(id, witness), 'closed');
    });
  }
}));

describe('generic errors', () => againstServer(['-detailed=false'], ({ connect }) => {
  alwaysTheSame(connect);

  test('an item of another type', async t => {
    const client = await connect(t);
    const subject = new Subject();
    const result = client.invoke('UploadSum', 5, subject);
    subject.next('two');
    await assert.rejects(result, failed('UploadSum', ' HubException: Failed to bind Stream message.'));
  });
}));
