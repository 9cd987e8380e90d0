// Groups of connections.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { againstServer, delivered, fateOf, idsOf } from './client.mjs';

againstServer([], ({ connectAll }) => {
  test('ToGroup', async t => {
    const clients = await connectAll(t, 3);
    await clients[0].invoke('Join', 'red');
    await clients[1].invoke('Join', 'red');
    await clients[2].invoke('Join', 'Red');
    await clients[2].invoke('ToGroup', 'red', 'hello');
    await clients[2].invoke('ToGroup', 'empty', 'hello');
    assert.deepEqual(await delivered(...clients), [['hello'], ['hello'], []]);
  });

  test('who joins twice gets a message once, and leaves at once', async t => {
    const clients = await connectAll(t, 2);
    await clients[0].invoke('Join', 'twice');
    await clients[0].invoke('Join', 'twice');
    await clients[0].invoke('ToGroup', 'twice', 'hello');
    await clients[0].invoke('Leave', 'twice');
    await clients[0].invoke('ToGroup', 'twice', 'not any more');
    assert.deepEqual(await delivered(...clients), [['hello'], []]);
  });

  test('no delivery after leaving', async t => {
    const clients = await connectAll(t, 2);
    for (const client of clients) await client.invoke('Join', 'left');
    await clients[0].invoke('ToGroup', 'left', 'both');
    await clients[1].invoke('Leave', 'left');
    await clients[1].invoke('Leave', 'never joined');
    await clients[0].invoke('ToGroup', 'left', 'one');
    await clients[0].invoke('Leave', 'left');
    await clients[0].invoke('ToGroup', 'left', 'nobody');
    await clients[1].invoke('Join', 'left');
    await clients[0].invoke('ToGroup', 'left', 'back');
    assert.deepEqual(await delivered(...clients), [['both', 'one'], ['both', 'back']]);
  });

  test('ToGroups', async t => {
    const clients = await connectAll(t, 4);
    await clients[0].invoke('Join', 'green');
    await clients[1].invoke('Join', 'blue');
    await clients[2].invoke('Join', 'green');
    await clients[2].invoke('Join', 'blue');
    await clients[0].invoke('ToGroups', ['green', 'blue', 'empty'], 'hello');
    await clients[0].invoke('ToGroups', [], 'nobody');
    // Who is in both gets it for each of them.
    assert.deepEqual(await delivered(...clients), [['hello'], ['hello'], ['hello', 'hello'], []]);
  });

  test('ToGroupExcept', async t => {
    const clients = await connectAll(t, 4);
    const [first, second] = await idsOf(...clients);
    for (const client of clients.slice(0, 3)) await client.invoke('Join', 'except');
    await clients[0].invoke('ToGroupExcept', 'except', [second], 'not the second');
    await clients[0].invoke('ToGroupExcept', 'except', [first, 'nobody'], 'not the first');
    await clients[0].invoke('ToGroupExcept', 'except', [], 'all');
    assert.deepEqual(await delivered(...clients), [['not the second', 'all'], ['not the first', 'all'], ['not the second', 'not the first', 'all'], []]);
  });

  test('ToOthersInGroup', async t => {
    const clients = await connectAll(t, 4);
    for (const client of clients.slice(0, 3)) await client.invoke('Join', 'others');
    await clients[0].invoke('ToOthersInGroup', 'others', 'from the first');
    await clients[3].invoke('ToOthersInGroup', 'others', 'from outside');
    assert.deepEqual(await delivered(...clients), [['from outside'], ['from the first', 'from outside'], ['from the first', 'from outside'], []]);
  });

  test('a group forgets who has gone', async t => {
    const [first, second] = await connectAll(t, 2);
    for (const client of [first, second]) await client.invoke('Join', 'gone');
    const [, gone] = await idsOf(first, second);
    await second.stop();
    await fateOf(gone, first);
    await second.start();
    await first.invoke('ToGroup', 'gone', 'hello');
    assert.deepEqual(await delivered(first, second), [['hello'], []]);
  });
});
