// Stateful reconnect: connections that outlive their WebSockets.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { HttpTransportType, Subject } from '@microsoft/signalr';
import { reference, startServer } from '../server.mjs';
import { connect, fateOf, json, messagePack, noMessagePack, until, upTo } from './client.mjs';
import { Cutter, exchange } from './cutter.mjs';

/** Half a message in front of a cut corrupts the stream that follows there. */
const corrupted = reference && 'The original takes half a message in front of a cut for the beginning of the next one.';

for (const way of [{ name: 'JSON', ...json }, { name: 'MessagePack', ...messagePack }]) {
  way.options = { transport: HttpTransportType.WebSockets };
  describe(way.name, { skip: way.binary && noMessagePack }, () => {
    let server;
    before(async () => { server = await startServer(); });
    after(() => server?.stop());

    /** A client behind a proxy that cuts, and one that is not. */
    async function connectBoth(t, options) {
      const cutter = new Cutter(server.port);
      const url = await cutter.listen(t);
      const client = await connect(t, way, `${url}/testhub`, { stateful: true, ...options });
      const witness = await connect(t, way, `${server.url}/testhub`);
      return { cutter, client, witness, id: await client.invoke('Id') };
    }

    /** That nobody has noticed anything. */
    async function assertSame({ client, witness, id, cutter }) {
      assert.equal(await client.invoke('Id'), id);
      assert.equal(client.connection.connectionId, id);
      assert.equal(await witness.invoke('Fate', id), null);
      assert.equal(client.closes.size + client.reconnecting.size, 0);
      assert.deepEqual(new Set(cutter.statuses), new Set([101]));
    }

    test('5000 messages of each side, and 20 cuts', { skip: corrupted }, async t => {
      const both = await connectBoth(t);
      await exchange(both, 5000, 20);
      await assertSame(both);
    });

    test('the connection stays what it was', async t => {
      const both = await connectBoth(t);
      const { client, cutter, witness } = both;
      await client.invoke('Join', 'group');
      for (const i of upTo(4)) {
        assert.equal(await client.invoke('Count'), i + 1);
        await cutter.cut();
        await witness.invoke('ToGroup', 'group', `${i}`);
        assert.equal(await client.messages.next(), `${i}`);
      }
      await assertSame(both);
    });

    test('a stream goes on', { skip: corrupted }, async t => {
      const both = await connectBoth(t);
      const { items, end } = both.client.stream('Counter', 300, 5);
      for (const least of [20, 100, 200]) {
        await until(() => items.size >= least, 'items');
        await both.cutter.cut();
      }
      await end();
      assert.deepEqual(await items.take(items.size), upTo(300));
      await assertSame(both);
    });

    test('an upload goes on', { skip: corrupted }, async t => {
      const both = await connectBoth(t);
      const numbers = new Subject();
      const sum = both.client.invoke('UploadSum', 0, numbers);
      for (const i of upTo(300)) {
        numbers.next(i);
        if (i % 100 === 50) await both.cutter.cut();
      }
      numbers.complete();
      assert.equal(await sum, 299 * 150);
      await assertSame(both);
    });

    test('calls of both sides wait for each other over cuts', async t => {
      const both = await connectBoth(t);
      const { client, cutter, witness, id } = both;
      client.connection.on('Ask', async question => {
        await cutter.cut();
        return `${question}!`;
      });
      const slow = client.invoke('Slow', 1000);
      for (const i of upTo(3)) assert.equal(await witness.invoke('AskClient', id, `${i}`), `${i}!`);
      assert.equal(await client.invoke('AskCaller', 'me'), 'me!');
      assert.equal(await slow, 1000);
      await assertSame(both);
    });

    test('a client that cannot come back reconnects with another id', async t => {
      const { client, cutter, witness, id } = await connectBoth(t, { retryDelay: 50 });
      await client.invoke('Join', 'group');
      cutter.refuse();
      await client.reconnecting.next();
      assert.equal(await witness.invoke('Fate', id), null);
      cutter.accept();
      assert.notEqual(await client.reconnected.next(), id);
      assert.notEqual(await client.invoke('Id'), id);
      await witness.invoke('ToGroup', 'group', 'to the former connection alone');
      assert.equal(await fateOf(id, witness), 'closed');
      await client.invoke('ToCaller', 'the end');
      assert.deepEqual(await client.messages.upTo('the end'), []);
    });

    for (const [what, end] of Object.entries({
      'the server aborts': client => client.send('Abort'),
      'the client stops': client => client.stop(),
    })) {
      test(`nothing is resumed when ${what}`, async t => {
        const { client, cutter, witness, id } = await connectBoth(t);
        await cutter.cut();
        await client.invoke('Echo', 'here again');
        await end(client);
        await client.closes.next();
        assert.equal(await fateOf(id, witness), 'closed');
        assert.deepEqual(cutter.statuses.slice(0, 2), [101, 101]);
        assert.ok(cutter.statuses.slice(2).every(status => [204, 404].includes(status)), `${cutter.statuses}`);
      });
    }
  });
}
