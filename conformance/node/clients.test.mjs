// Messages from the hub to some of its clients, and to nobody else.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { againstServer, delivered, idsOf } from './client.mjs';

againstServer([], ({ connect, connectAll }) => {
  test('ToCaller', async t => {
    const [first, second] = await connectAll(t, 2);
    await first.invoke('ToCaller', 'hello');
    await first.invoke('InvokeWithString', 'you');
    assert.deepEqual(await delivered(first, second), [['hello', 'you'], []]);
  });

  test('ToAll', async t => {
    const clients = await connectAll(t, 3);
    await clients[0].invoke('ToAll', 'hello');
    assert.deepEqual(await delivered(...clients), [['hello'], ['hello'], ['hello']]);
  });

  test('ToAll does not reach another hub', async t => {
    const first = await connect(t);
    const other = await connect(t, '/bench');
    await first.invoke('ToAll', 'hello');
    await first.invoke('ToClient', await other.invoke('Id'), 'hello');
    assert.deepEqual(await delivered(first), [['hello']]);
    await other.invoke('Echo', 'what was sent before has arrived');
    assert.equal(other.messages.size, 0);
  });

  test('ToOthers', async t => {
    const clients = await connectAll(t, 3);
    await clients[0].invoke('ToOthers', 'hello');
    assert.deepEqual(await delivered(...clients), [[], ['hello'], ['hello']]);
  });

  test('ToClient', async t => {
    const clients = await connectAll(t, 3);
    const [, second] = await idsOf(...clients);
    await clients[0].invoke('ToClient', second, 'hello');
    await clients[0].invoke('ToClient', 'nobody', 'hello');
    assert.deepEqual(await delivered(...clients), [[], ['hello'], []]);
  });

  test('ToClients', async t => {
    const clients = await connectAll(t, 4);
    const [first, second, third] = await idsOf(...clients);
    await clients[0].invoke('ToClients', [second, third], 'both');
    await clients[0].invoke('ToClients', [first, second, 'nobody', second], 'once each');
    await clients[0].invoke('ToClients', [], 'nobody');
    assert.deepEqual(await delivered(...clients), [['once each'], ['both', 'once each'], ['both'], []]);
  });

  test('ToAllExcept', async t => {
    const clients = await connectAll(t, 4);
    const [first, second, third] = await idsOf(...clients);
    await clients[0].invoke('ToAllExcept', [second, third], 'some');
    await clients[0].invoke('ToAllExcept', [first, 'nobody'], 'others');
    await clients[0].invoke('ToAllExcept', [], 'all');
    assert.deepEqual(await delivered(...clients), [['some', 'all'], ['others', 'all'], ['others', 'all'], ['some', 'others', 'all']]);
  });

  test('a client that has gone', async t => {
    const [first, second] = await connectAll(t, 2);
    const [, gone] = await idsOf(first, second);
    await second.stop();
    await first.invoke('ToClient', gone, 'hello');
    await first.invoke('ToAll', 'hello');
    assert.deepEqual(await delivered(first), [['hello']]);
    assert.equal(second.messages.size, 0);
  });
});
