// Results from clients: a method asks one of them, and goes on with the answer.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MessageType } from '@microsoft/signalr';
import { againstServer, canceled, failed, idsOf, until } from './client.mjs';

/** Something to wait for that the test brings about. */
function signal() {
  let give;
  const given = new Promise(resolve => { give = resolve; });
  return { given, give };
}

/** These texts are the same with and without detailed errors. */
function alwaysTheSame(connect, connectAll) {
  test('the handler fails', async t => {
    const [client, other] = await connectAll(t, 2);
    const [id] = await idsOf(client);
    for (const fail of [() => { throw new Error('é "quoted"'); }, () => Promise.reject(new Error('é "quoted"'))]) {
      client.connection.off('Ask');
      client.connection.on('Ask', fail);
      await assert.rejects(client.invoke('AskCaller', 'why?'), failed('AskCaller', ' HubException: Error: é "quoted"'));
      await assert.rejects(other.invoke('AskClient', id, 'why?'), failed('AskClient', ' HubException: Error: é "quoted"'));
    }
  });

  test('no handler', async t => {
    const client = await connect(t);
    await assert.rejects(client.invoke('AskCaller', 'who?'), failed('AskCaller', ` HubException: Client didn't provide a result.`));
  });

  test('a handler without an answer', async t => {
    const client = await connect(t);
    client.connection.on('Ask', () => {});
    await assert.rejects(client.invoke('AskCaller', 'what?'), failed('AskCaller', ` HubException: Client didn't provide a result.`));
  });

  test('two handlers with answers', async t => {
    const client = await connect(t);
    client.connection.on('Ask', () => 'yes');
    client.connection.on('Ask', () => 'no');
    await assert.rejects(client.invoke('AskCaller', 'what?'), failed('AskCaller', ' HubException: Client provided multiple results.'));
  });

  test('an answer of another type', async t => {
    const client = await connect(t);
    client.connection.on('Ask', () => 42);
    await assert.rejects(client.invoke('AskCaller', 'what?'), ({ message }) => {
      // The type is named in the words of the server's language.
      assert.ok(message.startsWith(failed('AskCaller', ' HubException: Error trying to deserialize result to ').message), message);
      return true;
    });
    assert.equal(await client.invoke('Echo', 'goes on'), 'goes on');
    assert.equal(client.closes.size, 0);
  });
}

describe('detailed errors', () => againstServer([], ({ connect, connectAll }) => {
  alwaysTheSame(connect, connectAll);

  test('a value', async t => {
    const client = await connect(t);
    client.connection.on('Ask', question => `${question} Yes.`);
    assert.equal(await client.invoke('AskCaller', 'Really?'), 'Really? Yes.');
    assert.deepEqual(client.received.map(({ type }) => type), [MessageType.Invocation, MessageType.Completion]);
    const [{ invocationId, ...question }] = client.received;
    assert.deepEqual(question, { type: MessageType.Invocation, target: 'Ask', arguments: ['Really?'] });
    assert.match(invocationId, /^s/); // apart from the ids that clients give to streams
  });

  test('a promise', async t => {
    const client = await connect(t);
    const { given, give } = signal();
    client.connection.on('Ask', async question => { await given; return `${question} Later.`; });
    const answer = client.invoke('AskCaller', 'When?');
    assert.equal(await client.invoke('Echo', 'meanwhile'), 'meanwhile');
    give();
    assert.equal(await answer, 'When? Later.');
  });

  test('empty answers', async t => {
    const client = await connect(t);
    for (const answer of ['', null]) {
      client.connection.off('Ask');
      client.connection.on('Ask', () => answer);
      assert.equal(await client.invoke('AskCaller', 'what?'), answer);
    }
  });

  test('a large answer', async t => {
    const client = await connect(t);
    client.connection.on('Ask', letter => letter.repeat(30_000));
    assert.equal(await client.invoke('AskCaller', 'x'), 'x'.repeat(30_000));
  });

  test('another client is asked', async t => {
    const clients = await connectAll(t, 3);
    clients.forEach((client, i) => client.connection.on('Ask', question => `${question} ${i}`));
    const ids = await idsOf(...clients);
    assert.deepEqual(await Promise.all(ids.map(id => clients[0].invoke('AskClient', id, 'Who?'))), ['Who? 0', 'Who? 1', 'Who? 2']);
  });

  test('two at once, answered the other way round', async t => {
    const [client, other] = await connectAll(t, 2);
    const [, id] = await idsOf(client, other);
    const late = signal();
    other.connection.on('Ask', async question => {
      if (question === 'first') await late.given;
      return `${question} answer`;
    });
    const first = client.invoke('AskClient', id, 'first');
    assert.equal(await client.invoke('AskClient', id, 'second'), 'second answer');
    late.give();
    assert.equal(await first, 'first answer');
  });

  test('waiting for an answer does not count towards the limit of calls', async t => {
    const client = await connect(t);
    // Ten calls of a client may run at once. None of these is answered before the eleventh has asked.
    const all = signal();
    let asked = 0;
    client.connection.on('Ask', async question => {
      if (++asked === 11) all.give();
      await all.given;
      return question;
    });
    const questions = Array.from({ length: 11 }, (_, i) => `question ${i}`);
    assert.deepEqual(await Promise.all(questions.map(question => client.invoke('AskCaller', question))), questions);
  });

  test('clients that ask each other', async t => {
    const clients = await connectAll(t, 2);
    const ids = await idsOf(...clients);
    clients.forEach((client, i) => client.connection.on('Ask', async depth =>
      (depth === '0' ? 'down' : `${i}${await client.invoke('AskClient', ids[1 - i], String(depth - 1))}`)));
    assert.equal(await clients[0].invoke('AskClient', ids[1], '6'), '101010down');
  });

  test('nobody', async t => {
    const client = await connect(t);
    await assert.rejects(client.invoke('AskClient', 'nobody', 'who?'), failed('AskClient', ` Error: Connection 'nobody' does not exist.`));
  });

  test('somebody who goes', async t => {
    const [client, other] = await connectAll(t, 2);
    const [, id] = await idsOf(client, other);
    const asked = signal();
    other.connection.on('Ask', () => { asked.give(); return new Promise(() => {}); });
    const answer = assert.rejects(client.invoke('AskClient', id, 'who?'), failed('AskClient', ` Error: Connection '${id}' disconnected.`));
    await asked.given;
    await other.stop();
    await answer;
    // While the server takes leave of it, it still counts as one who goes.
    const unknown = failed('AskClient', ` Error: Connection '${id}' does not exist.`).message;
    await until(async () => (await client.invoke('AskClient', id, 'who?').catch(error => error.message)) === unknown, 'that it is not known any more');
  });

  test('who asks goes before the answer', async t => {
    const [client, other, witness] = await connectAll(t, 3);
    const [, id] = await idsOf(client, other);
    const asked = signal(), gone = signal();
    other.connection.on('Ask', async () => { asked.give(); await gone.given; return 'too late'; });
    const answer = assert.rejects(client.invoke('AskClient', id, 'who?'), canceled);
    await asked.given;
    await client.stop();
    await answer;
    gone.give();
    assert.equal(await other.invoke('Echo', 'goes on'), 'goes on');
    other.connection.off('Ask');
    other.connection.on('Ask', () => 'in time');
    assert.equal(await witness.invoke('AskClient', id, 'who?'), 'in time');
  });

  test('an answer that nobody waits for', async t => {
    const client = await connect(t);
    client.connection.on('Message', () => 'not asked');
    await client.invoke('ToCaller', 'hello');
    assert.equal(await client.messages.next(), 'hello');
    assert.equal(await client.invoke('Echo', 'goes on'), 'goes on');
    assert.deepEqual(client.sent.filter(({ type }) => type === MessageType.Completion), []);
  });
}));

describe('generic errors', () => againstServer(['-detailed=false'], ({ connect, connectAll }) => {
  alwaysTheSame(connect, connectAll);

  test('nobody', async t => {
    const client = await connect(t);
    await assert.rejects(client.invoke('AskClient', 'nobody', 'who?'), failed('AskClient', ''));
  });
}));
