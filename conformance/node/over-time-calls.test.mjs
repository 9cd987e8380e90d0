// What a client sent before it went is executed: in order, before the end of the connection, and answered as long as that can be.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MessageType } from '@microsoft/signalr';
import { reference } from '../server.mjs';
import { connect, json, upTo } from './client.mjs';
import { ended, messages, newKey, overTime } from './later.mjs';
import { call, completed, goodbye, invocation, item, withUploads } from './raw.mjs';

overTime(server => {
  const { way, laterTest, noted, release } = server;
  const official = (t, path) => connect(t, way, server.url + path);

  /** How clients go. Who cuts a polling client's connections leaves nothing that a server could notice at once. */
  const ends = [
    ['Close, and the end of the transport', client => client.stop()],
    ['Close alone', client => client.write(goodbye)],
    ['the end of the transport', client => client.leave()],
    ...(way.transport === 'LongPolling' ? [] : [['the end of the TCP connection', client => client.drop()]]),
  ];

  for (const [what, slow] of [['quick calls', false], ['slow calls between them', true]]) {
    test(`the official client sends 50 messages and stops, ${what}`, async t => {
      const witness = await connect(t, json, `${server.url}/bench`);
      const received = witness.callback('Receive');
      const id = await witness.invoke('Id');
      const client = await official(t, '/bench');
      const sends = upTo(50).flatMap(i => [...(slow ? [['Slow', 5]] : []), ['SendTo', id, i, 'x']]).map(args => client.connection.send(...args));
      // What is not in a POST yet when a client stops, it does not send any more.
      if (way.transport === 'WebSockets') sends.forEach(send => send.catch(() => {}));
      else await Promise.all(sends);
      await client.stop();
      assert.deepEqual(await received.take(50), upTo(50).map(i => [i, 'x']));
    });
  }

  test('20 official clients join, say goodbye and stop', async t => {
    const witness = await connect(t, json, `${server.url}/testhub`);
    const id = await witness.invoke('Id');
    for (const i of upTo(20)) {
      const client = await official(t, '/testhub');
      await client.invoke('Join', 'room');
      const send = client.connection.send('ToClient', id, `goodbye ${i}`);
      if (way.transport === 'WebSockets') send.catch(() => {});
      else await send;
      await client.stop();
    }
    const all = await witness.messages.take(20);
    assert.deepEqual(all.toSorted(), upTo(20).map(i => `goodbye ${i}`).toSorted());
  });

  for (const [how, leave] of ends) {
    for (const [path, limit] of [['/testhub', 10], ['/bench', 1]]) {
      const [method, target, args] = limit === 1 ? ['SendTo', 'Receive', i => [i, 'x']] : ['ToClient', 'Message', i => [String(i)]];
      const all = upTo(20).map(i => args(i)[0]);

      for (const [shape, write] of [
        ['in one', (client, calls) => client.write(...calls)],
        ['one by one', (client, calls) => Promise.all(calls.map(one => client.write(one)))],
      ]) {
        const stopsReading = reference && shape === 'one by one' && how !== 'Close alone' &&
          'The original stops reading when the transport ends: it executes what it has read by then.';
        test(`20 calls ${shape}, then ${how}, limit ${limit}`, { skip: stopsReading }, async t => {
          const witness = await server.witness(t, path);
          const client = await server.connect(t, path);
          await write(client, upTo(20).map(i => call(method, witness.id, ...args(i))));
          await leave(client);
          assert.deepEqual(await messages(witness, 20, target), all);
        });
      }
    }

    for (const [path, limit] of [['/later', 10], ['/later-one', 1]]) {
      laterTest(`what waits for a turn is executed before OnDisconnected: ${how}, limit ${limit}`, async t => {
        const key = newKey();
        const client = await server.connect(t, `${path}?key=${key}`);
        await client.write(...upTo(limit).map(i => call('Hold', key, `call ${i}`)), ...upTo(5).map(i => call('Note', key, `note ${i}`)));
        for (const i of upTo(limit)) await noted(key, `call ${i} begins`);
        await leave(client);
        await release(key);
        const all = await noted(key, 'disconnected');
        assert.deepEqual(all.filter(note => note.startsWith('note')), upTo(5).map(i => `note ${i}`));
        assert.equal(all.filter(note => note === 'disconnected').length, 1);
        if (limit === 1) assert.deepEqual(all.filter(note => note !== 'gone'), ['connected', 'call 0 begins', 'call 0', ...upTo(5).map(i => `note ${i}`), 'disconnected']);
        else assert.ok(all.indexOf('note 4') < all.indexOf('disconnected'), all.join());
      });

      laterTest(`an upload that has arrived is read to its end: ${how}, limit ${limit}`, async t => {
        const key = newKey();
        const items = upTo(5).map(i => `item ${i}`);
        const client = await server.connect(t, `${path}?key=${key}`);
        await client.write(withUploads(call('UploadLater', key), 'upload'), ...items.map(one => item('upload', one)), completed('upload'));
        await noted(key, 'UploadLater begins');
        await leave(client);
        await noted(key, 'gone');
        await release(key);
        const all = await noted(key, 'the upload ends');
        assert.deepEqual(all.filter(note => note.startsWith('item')), items);
        assert.ok(!all.includes('the upload breaks off'));
      });

      laterTest(`an upload without its end is read up to where it broke off: ${how}, limit ${limit}`, async t => {
        const key = newKey();
        const items = upTo(5).map(i => `item ${i}`);
        const client = await server.connect(t, `${path}?key=${key}`);
        await client.write(withUploads(call('UploadLater', key), 'upload'), ...items.map(one => item('upload', one)));
        await noted(key, 'UploadLater begins');
        await leave(client);
        await noted(key, 'gone');
        await release(key);
        const all = await noted(key, 'the upload breaks off');
        assert.deepEqual(all.filter(note => note.startsWith('item')), items);
      });
    }
  }

  test('results that are due come before the end, where calls run one by one', async t => {
    const client = await server.connect(t, '/bench');
    await client.write(invocation('1', 'Slow', 150), invocation('2', 'Echo', 'x'), goodbye);
    await ended(client);
    assert.deepEqual(client.received.map(({ type, result, error }) => (type === MessageType.Close ? ['Close', error ?? undefined] : result)), [150, 'x', ['Close', undefined]]);
  });
});
