// A panic before and one behind each kind of message that actors of the server get, in the middle of the life of an official client. Its
// connection goes on, or it ends whole and the client comes back; what it has called is answered or fails; and nobody else notices.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Subject } from '@microsoft/signalr';
import EventSource from 'eventsource';
import { reference, startServer } from '../server.mjs';
import { connect, fateOf, newClient, overEveryWay, until, within } from './client.mjs';

const leftOut = reference && 'The original has no actors.';
const group = 'everybody who lives';

let server;
before(async () => { if (!leftOut) server = await startServer(['-panics']); });
after(async () => {
  if (leftOut) return;
  // Nothing that has panicked holds the server up.
  const exit = server.stop('SIGTERM');
  assert.equal(await within(exit, 'the end of the server'), 0);
});

const order = async (path, method = 'POST') => (await within(fetch(`${server.control}/panics/${path}`, { method }), path)).text();

/** The client throws where nobody can catch it if an event stream ends before it has seen that it is open: it hears of the end a turn later. */
class LateEventSource extends EventSource {
  set onerror(listener) {
    super.onerror = event => setImmediate(listener, event);
  }
}

/**
 * All that an official client does with a hub. It does not matter what fails, but everything has to end. It returns what has failed, and the
 * ids that the client had.
 */
async function live(t, way) {
  const client = newClient(t, way, `${server.url}/testhub`, { retryDelay: 10, EventSource: LateEventSource });
  client.connection.on('Ask', question => `${question}!`);
  const failures = [], ids = new Set();
  const noteID = async () => { ids.add(await client.invoke('Id')); };
  const attempt = async action => {
    try {
      return await action();
    } catch (error) {
      assert.doesNotMatch(error.message, /not within/, 'everything ends');
      failures.push(error.message);
    }
  };
  for (let tries = 0; client.connection.state === 'Disconnected'; tries++) {
    assert.ok(tries < 10, `the client cannot connect: ${failures}`);
    await attempt(() => client.start());
  }
  const upload = new Subject();
  const work = [
    attempt(noteID),
    attempt(() => client.invoke('Echo', 'hello')),
    attempt(() => client.invoke('Join', group)),
    attempt(() => client.streamed('Counter', 20, 1)),
    attempt(() => client.invoke('UploadStream', upload)),
    attempt(() => client.invoke('AskCaller', 'answer')),
    attempt(() => client.invoke('ToGroup', group, 'message')),
    attempt(() => client.send('ToAll', 'message')),
  ];
  await attempt(async () => { upload.next('a'); upload.next('b'); upload.complete(); });
  await Promise.all(work);
  await attempt(() => client.invoke('Leave', group));
  // Whatever happened, the client is connected, or connects again, and can call.
  await until(async () => {
    if (client.connection.state === 'Disconnected') await attempt(() => client.start());
    return client.connection.state === 'Connected' && await attempt(() => client.invoke('Echo', 'still here')) === 'still here';
  }, 'the client is back');
  await attempt(noteID);
  await client.stop();
  return { failures, ids };
}

overEveryWay(way => {
  test('A panic at each message ends no more than what met it', { skip: leftOut }, async t => {
    const neighbour = await connect(t, way, `${server.url}/testhub`);
    const spare = await neighbour.invoke('Id');
    await neighbour.invoke('Join', group);
    await live(t, way); // which shows the messages that there are
    const messages = await until(async () => {
      const seen = JSON.parse(await order('seen', 'GET'));
      return seen.includes('*actor.Stopped') && seen; // the actor of a connection has ended
    }, 'all messages');
    assert.ok(messages.length >= 10, `${messages}`);
    let hits = 0;
    for (const message of messages) {
      for (const behind of [false, true]) {
        await order(`arm?at=${encodeURIComponent(message)}&behind=${behind}&spare=${encodeURIComponent(spare)}`);
        const { failures, ids } = await live(t, way);
        assert.equal(await neighbour.invoke('Echo', message), message);
        await until(async () => (await neighbour.invoke('Members', group)).length === 1, `no ghost is in the group after ${message}`);
        for (const id of ids) await fateOf(id, neighbour); // OnDisconnected has run
        let due = true;
        for (let tries = 0; due && tries < 20; tries++) due = await order('due', 'GET'); // actors stop a little later
        await order('due');
        if (!due) hits++;
        t.diagnostic(`${behind ? 'behind' : 'before'} ${message}: ${due ? 'not reached' : failures.join(', ') || 'nothing failed'}`);
      }
    }
    assert.ok(hits >= 10, `${hits} panics at ${messages.length} messages`);
    assert.equal(neighbour.closes.size + neighbour.reconnecting.size, 0);
  });
});
