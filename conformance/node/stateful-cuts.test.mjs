// Stateful reconnect where both sides send all the time, and the TCP connection ends anywhere in what they send.
//
//   SEED=n node conformance/run.mjs node/stateful-cuts
//
// brings the same choices again.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { HttpTransportType, MessageType } from '@microsoft/signalr';
import { Random } from '../differential/random.mjs';
import { reference, startServer } from '../server.mjs';
import { connect, json, messagePack, noMessagePack, until, upTo, within } from './client.mjs';
import { Cutter, waysToCut } from './cutter.mjs';
import { newKey } from './later.mjs';

const leftOut = reference && 'The original takes half a message in front of a cut for the beginning of the next one.';

const count = 5000, cuts = 20, part = count / cuts;

/**
 * The messages that the server has numbered, each once. Those that have come again must be what they were before, and a Sequence must not leave
 * any out.
 */
function numbered(received) {
  const all = [];
  let next = 0;
  for (const message of received) {
    if (message.type === MessageType.Sequence) {
      next = message.sequenceId - 1;
      assert.ok(next <= all.length, `a Sequence with ${message.sequenceId} after ${all.length} messages`);
    } else if (message.type >= MessageType.Invocation && message.type <= MessageType.CancelInvocation) {
      if (next < all.length) assert.deepEqual(message, all[next]);
      else all.push(message);
      next++;
    }
  }
  return all;
}

for (const way of [{ name: 'JSON', ...json }, { name: 'MessagePack', ...messagePack }]) {
  way.options = { transport: HttpTransportType.WebSockets };
  describe(way.name, { skip: way.binary && noMessagePack }, () => {
    let server;
    before(async () => { server = await startServer(); });
    after(() => server?.stop());

    test(`${count} messages of each side, and ${cuts} cuts anywhere in them`, { skip: leftOut }, async t => {
      const seed = Number(process.env.SEED || randomInt(2 ** 31)), random = new Random(seed);
      console.log(`SEED=${seed}`);
      const key = newKey(), begin = Date.now();
      const cutter = new Cutter(server.port);
      // One call of each client runs at a time, so that they run in order.
      const client = await connect(t, way, `${await cutter.listen(t)}/later-one?key=${key}`, { stateful: true });
      const witness = await connect(t, way, `${server.url}/later-one`);
      const id = await client.invoke('Id');
      await client.invoke('Join', key);

      const calls = [];
      let pending = 0, pendingOverCuts = 0;
      /** Calls a method, and remembers how the call must end. */
      const call = (expected, method, ...args) => {
        pending++;
        const result = client.connection.invoke(method, ...args).then(value => assert.equal(value, expected)).finally(() => { pending--; });
        result.catch(() => {}); // until all are asked
        calls.push(result);
        return result;
      };
      const answers = new Map();
      client.connection.on('Ask', question => new Promise(answer => { answers.set(question, answer); }));

      /** A message of each side; gives what shows that more can be sent. */
      const exchange = i => {
        const sent = [random.chance(0.5) ? witness.send('ToClient', id, `${i}`) : witness.send('ToGroup', key, `${i}`)];
        if (random.chance(0.1)) call(`${i}`, 'Echo', `${i}`);
        if (random.chance(0.5)) call(null, 'Note', key, `${i}`);
        else sent.push(client.send('Note', key, `${i}`)); // waits while the client may keep no more messages
        return sent;
      };

      /** Messages from first up to last, without that. Those that are sent together are in one frame, which may be long. */
      const exchangeAll = async (first, last) => {
        for (let i = first, next; i < last; i = next) {
          next = Math.min(last, i + random.int(1, random.one([3, part, part])));
          await Promise.all(upTo(next - i).flatMap(more => exchange(i + more)));
          await new Promise(setImmediate);
        }
      };

      for (const n of upTo(cuts)) {
        const first = n * part, middle = first + random.int(0, part / 2);
        await exchangeAll(first, middle);

        // The client answers this question after the cut. It also shows that the client has got everything again that was lost with the cut
        // before. The official client is lost if it is cut sooner and has acknowledged what it was about to get again: it takes the next
        // Sequence for one that leaves out messages.
        const answered = call(`${n}!`, 'AskCaller', `${n}`);
        await until(() => answers.has(`${n}`), `question ${n}`);

        let isCut = false;
        const cut = cutter.cutAfter(random.int(1, random.one([100, 2000, 10_000])), random.one(['client', 'server']), random.one(waysToCut)).then(() => {
          isCut = true;
          pendingOverCuts += pending;
          answers.get(`${n}`)(`${n}!`);
        });
        await exchangeAll(middle, first + part);
        while (!isCut) await Promise.race([cut, within(call('more', 'Echo', 'more'), 'Echo')]); // until enough bytes have come
        await within(answered, `the answer to question ${n}`);
        await within(call(n + 1, 'Count'), 'Count');
      }
      await within(Promise.all(calls), 'all results');

      const expected = upTo(count).map(String);
      assert.deepEqual(await client.messages.take(count), expected);
      await witness.invoke('ToGroup', key, 'the end');
      assert.deepEqual(await client.messages.upTo('the end'), []);
      const notes = await (await fetch(`${server.control}/notes?key=${key}`)).json();
      assert.deepEqual(notes, ['connected', ...expected]); // and not 'disconnected'

      const completed = numbered(client.received).filter(({ type }) => type === MessageType.Completion).map(({ invocationId }) => invocationId);
      assert.equal(completed.length, new Set(completed).size, 'a call was answered twice');

      assert.equal(await client.invoke('Id'), id);
      assert.equal(client.connection.connectionId, id);
      assert.equal(client.closes.size + client.reconnecting.size + client.reconnected.size, 0);
      assert.deepEqual(cutter.statuses, Array(1 + cuts).fill(101));
      t.diagnostic(`${cuts} cuts, over which ${pendingOverCuts} calls were waiting, ${calls.length} calls, in ${Date.now() - begin} ms`);
    });
  });
}
