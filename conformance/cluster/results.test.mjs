// Results from clients: a method of one node asks a client of another.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MessageType } from '@microsoft/signalr';
import { canceled, failed, until, upTo } from '../node/client.mjs';
import { againstNodes } from './client.mjs';

/** Something to wait for that the test brings about. */
function signal() {
  let give;
  const given = new Promise(resolve => { give = resolve; });
  return { given, give };
}

againstNodes([], ({ connectAll }) => {
  test('each asks each', async t => {
    const clients = await connectAll(t);
    clients.forEach((client, i) => client.connection.on('Ask', question => `${question} ${i}`));
    for (const client of clients) {
      assert.deepEqual(await Promise.all(clients.map(({ id }) => client.invoke('AskClient', id, 'Who?'))), ['Who? 0', 'Who? 1', 'Who? 2']);
    }
  });

  test('empty answers, and a large one', async t => {
    const [client, other] = await connectAll(t, 2);
    for (const answer of ['', null, 'é'.repeat(15_000)]) {
      other.connection.off('Ask');
      other.connection.on('Ask', () => answer);
      assert.equal(await client.invoke('AskClient', other.id, 'what?'), answer);
    }
  });

  test('nodes that ask at the same time', async t => {
    const [client, other, third] = await connectAll(t), count = 100;
    other.connection.on('Ask', question => `${question}!`);
    const answers = await Promise.all(upTo(count).flatMap(i => [client, other, third].map(one => one.invoke('AskClient', other.id, `${one.node.name} ${i}`))));
    assert.deepEqual(answers, upTo(count).flatMap(i => ['node0', 'node1', 'node2'].map(name => `${name} ${i}!`)));
    const ids = other.receivedOfType(MessageType.Invocation).map(({ invocationId }) => invocationId);
    assert.deepEqual([ids.length, new Set(ids).size], [3 * count, 3 * count]);
  });

  test('two answers that come the other way round', async t => {
    const [client, other, third] = await connectAll(t), late = signal(), asked = signal();
    other.connection.on('Ask', async question => {
      if (question === 'first') {
        asked.give();
        await late.given;
      }
      return `${question} answer`;
    });
    const first = client.invoke('AskClient', other.id, 'first');
    await asked.given;
    assert.equal(await third.invoke('AskClient', other.id, 'second'), 'second answer');
    late.give();
    assert.equal(await first, 'first answer');
  });

  test('clients that ask each other', async t => {
    const clients = await connectAll(t, 2);
    clients.forEach((client, i) => client.connection.on('Ask', async depth =>
      (depth === '0' ? 'down' : `${i}${await client.invoke('AskClient', clients[1 - i].id, String(depth - 1))}`)));
    assert.equal(await clients[0].invoke('AskClient', clients[1].id, '6'), '101010down');
  });

  test('the client fails', async t => {
    const [client, other] = await connectAll(t, 2);
    for (const fail of [() => { throw new Error('é "quoted"'); }, () => Promise.reject(new Error('é "quoted"'))]) {
      other.connection.off('Ask');
      other.connection.on('Ask', fail);
      await assert.rejects(client.invoke('AskClient', other.id, 'why?'), failed('AskClient', ' HubException: Error: é "quoted"'));
    }
    other.connection.off('Ask');
    await assert.rejects(client.invoke('AskClient', other.id, 'who?'), failed('AskClient', ` HubException: Client didn't provide a result.`));
    assert.equal(await other.invoke('Echo', 'goes on'), 'goes on');
  });

  test('an answer of another type', async t => {
    const [client, other] = await connectAll(t, 2), [neighbour] = await connectAll(t, 1);
    let answer = 42;
    other.connection.on('Ask', () => answer);
    const messages = [];
    for (const asker of [client, neighbour, other]) {
      await assert.rejects(asker.invoke('AskClient', other.id, 'what?'), ({ message }) => Boolean(messages.push(message)));
    }
    assert.ok(messages[0].startsWith(failed('AskClient', ' HubException: Error trying to deserialize result to ').message), messages[0]);
    assert.deepEqual(messages, Array(3).fill(messages[0])); // as where both are at one node
    answer = 'text';
    assert.equal(await client.invoke('AskClient', other.id, 'what?'), 'text');
    assert.equal(await other.invoke('Echo', 'goes on'), 'goes on');
    assert.equal(other.closes.size, 0);
  });

  test('nobody, and somebody of another node who has gone', async t => {
    const [client, other, third] = await connectAll(t);
    const unknown = id => failed('AskClient', ` Error: Connection '${id}' does not exist.`);
    for (const id of ['nobody', '', 'A'.repeat(22)]) await assert.rejects(client.invoke('AskClient', id, 'who?'), unknown(id));
    await other.stop();
    for (const asker of [client, third]) {
      // While its node takes leave of it, it still counts as one who goes.
      await until(async () => (await asker.invoke('AskClient', other.id, 'who?').catch(error => error.message)) === unknown(other.id).message, 'that it is not known any more');
    }
  });

  for (const [how, end] of Object.entries({ stops: other => other.stop(), 'is closed': (other, client) => client.invoke('Kick', other.id) })) {
    test(`somebody who ${how} before the answer`, async t => {
      const [client, other] = await connectAll(t, 2), asked = signal();
      other.connection.on('Ask', () => { asked.give(); return new Promise(() => {}); });
      const answer = assert.rejects(client.invoke('AskClient', other.id, 'who?'), failed('AskClient', ` Error: Connection '${other.id}' disconnected.`));
      await asked.given;
      await end(other, client);
      await answer;
    });
  }

  test('who asks goes before the answer', async t => {
    const [client, other, witness] = await connectAll(t), asked = signal(), gone = signal();
    other.connection.on('Ask', async () => { asked.give(); await gone.given; return 'too late'; });
    const answer = assert.rejects(client.invoke('AskClient', other.id, 'who?'), canceled);
    await asked.given;
    await client.stop();
    await answer;
    gone.give();
    assert.equal(await other.invoke('Echo', 'goes on'), 'goes on');
    other.connection.off('Ask');
    other.connection.on('Ask', () => 'in time');
    assert.equal(await witness.invoke('AskClient', other.id, 'who?'), 'in time');
  });
});
