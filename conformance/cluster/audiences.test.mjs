// Who gets what a hub of one node sends, where the clients are at several nodes.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { HubConnectionState } from '@microsoft/signalr';
import { fateOf, until } from '../node/client.mjs';
import { againstNodes, delivered } from './client.mjs';

/** Waits for messages. One that is on its way from a node can be overtaken by what another node does, so that it finds nobody in its group. */
const arrived = ({ messages }, count) => until(() => messages.size === count, `${count} messages`);

againstNodes([], ({ way, connectTo, connectAll }) => {
  test('everybody, and others', async t => {
    const clients = await connectAll(t);
    for (const [i, client] of clients.entries()) {
      await client.invoke('ToAll', `all ${i}`);
      await client.invoke('ToOthers', `others ${i}`);
    }
    assert.deepEqual(await delivered(...clients), [
      ['all 0', 'all 1', 'all 2', 'others 1', 'others 2'], ['all 0', 'all 1', 'all 2', 'others 0', 'others 2'], ['all 0', 'all 1', 'all 2', 'others 0', 'others 1'],
    ]);
  });

  test('everybody but some', async t => {
    const clients = await connectAll(t, 4), [first, second] = clients.map(({ id }) => id);
    await clients[2].invoke('ToAllExcept', [first, second], 'a');
    await clients[0].invoke('ToAllExcept', [first, 'nobody'], 'b');
    await clients[1].invoke('ToAllExcept', [], 'c');
    assert.deepEqual(await delivered(...clients), [['c'], ['b', 'c'], ['a', 'b', 'c'], ['a', 'b', 'c']]);
  });

  test('connections, wherever they are', async t => {
    const clients = await connectAll(t), [first, second, third] = clients.map(({ id }) => id);
    for (const [i, client] of clients.entries()) {
      await client.invoke('ToClient', second, `one ${i}`);
      await client.invoke('ToClients', [first, third, 'nobody'], `two ${i}`);
      await client.invoke('ToClient', 'nobody', 'lost');
    }
    await clients[1].invoke('ToClients', [], 'lost');
    const two = ['two 0', 'two 1', 'two 2'];
    assert.deepEqual(await delivered(...clients), [two, ['one 0', 'one 1', 'one 2'], two]);
  });

  test('groups', async t => {
    const clients = await connectAll(t, 4), [red, blue] = [randomUUID(), randomUUID()];
    for (const client of clients.slice(0, 3)) await client.invoke('Join', red);
    await clients[3].invoke('Join', blue);
    await clients[1].invoke('ToGroup', red, 'a');
    await clients[3].invoke('ToGroup', red, 'b');
    await clients[0].invoke('ToGroupExcept', red, [clients[1].id], 'c');
    await clients[2].invoke('ToOthersInGroup', red, 'd');
    await clients[3].invoke('ToOthersInGroup', red, 'e');
    await clients[2].invoke('ToGroups', [red, blue, randomUUID()], 'f');
    await clients[0].invoke('ToGroup', randomUUID(), 'lost');
    assert.deepEqual(await delivered(...clients), [['a', 'b', 'c', 'd', 'e', 'f'], ['a', 'b', 'd', 'e', 'f'], ['a', 'b', 'c', 'e', 'f'], ['f']]);
  });

  test('after a group is left', async t => {
    const clients = await connectAll(t), group = randomUUID();
    for (const client of clients) await client.invoke('Join', group);
    await clients[0].invoke('ToGroup', group, 'a');
    await arrived(clients[1], 1);
    await clients[1].invoke('Leave', group);
    await clients[0].invoke('ToGroup', group, 'b');
    await clients[0].invoke('ToClient', clients[1].id, 'behind b'); // which finds nobody in the group there, before somebody joins again
    await arrived(clients[1], 2);
    await arrived(clients[2], 2);
    await clients[2].invoke('Leave', group);
    await clients[1].invoke('ToGroup', group, 'c');
    await clients[1].invoke('Join', group);
    await clients[2].invoke('ToGroup', group, 'd');
    assert.deepEqual(await delivered(...clients), [['a', 'b', 'c', 'd'], ['a', 'behind b', 'd'], ['a', 'b']]);
  });

  test('a connection of another node is put into a group, and out of it', async t => {
    const [client, other, sender] = await connectAll(t), group = randomUUID();
    for (const caller of [client, sender, other]) { // where it is a member already, that does nothing
      await caller.invoke('AddTo', other.id, group);
      await caller.invoke('AddTo', 'nobody', group);
      for (const asker of [client, other, sender]) assert.deepEqual(await asker.invoke('Members', group), [other.id]);
    }
    for (const from of [client, other, sender]) await from.invoke('ToGroup', group, `from ${from.node.name}`);
    await arrived(other, 3);
    await client.invoke('RemoveFrom', other.id, group);
    assert.deepEqual(await sender.invoke('Members', group), []);
    for (const from of [client, other, sender]) await from.invoke('ToGroup', group, 'lost');
    assert.deepEqual(await delivered(client, other, sender), [[], ['from node0', 'from node1', 'from node2'], []]);
  });

  test('who is in no group can be put out of it', async t => {
    const [client, other] = await connectAll(t, 2), group = randomUUID();
    for (const caller of [client, other]) await caller.invoke('RemoveFrom', other.id, group);
    await client.invoke('Join', group);
    await client.invoke('RemoveFrom', other.id, group);
    assert.deepEqual(await other.invoke('Members', group), [client.id]);
    await other.invoke('ToGroup', group, 'a');
    assert.deepEqual(await delivered(client, other), [['a'], []]);
  });

  test('users', async t => {
    const [alice, bob] = [`alice ${randomUUID()}`, `bob ${randomUUID()}`];
    const clients = await connectAll(t, [alice, alice, alice, bob, undefined]);
    assert.deepEqual(await Promise.all(clients.map(client => client.invoke('UserId'))), [alice, alice, alice, bob, null]);
    for (const [i, client] of clients.entries()) await client.invoke('ToUser', alice, `${i}`);
    await clients[2].invoke('ToUsers', [alice, bob, 'nobody'], 'both');
    await clients[1].invoke('ToUser', 'nobody', 'lost');
    const all = ['0', '1', '2', '3', '4', 'both'];
    assert.deepEqual(await delivered(...clients), [all, all, all, ['both'], []]);
  });

  test('a user has connections until the last one goes', async t => {
    const user = `alice ${randomUUID()}`, clients = await connectAll(t, [user, user, undefined]);
    const [first, second, witness] = clients, neighbour = await connectTo(t, 0);
    await first.stop();
    await fateOf(first.id, neighbour);
    assert.equal(await witness.invoke('Online', user), true);
    await witness.invoke('ToUser', user, 'still there');
    assert.deepEqual(await delivered(second, witness, neighbour), [['still there'], [], []]);
    await second.stop();
    await until(async () => !(await witness.invoke('Online', user)), 'nobody online');
  });

  test('who has gone is in no group any more, and gets no more', async t => {
    const clients = await connectAll(t), [client, other, third] = clients, group = randomUUID();
    for (const one of clients) await one.invoke('Join', group);
    await other.stop();
    await until(async () => (await client.invoke('Members', group)).length === 2, 'two members');
    assert.deepEqual(await third.invoke('Members', group), [client.id, third.id].sort());
    await client.invoke('ToGroup', group, 'a');
    await third.invoke('ToClient', other.id, 'b');
    await client.invoke('ToAll', 'c');
    assert.deepEqual(await delivered(client, third), [['a', 'c'], ['a', 'c']]);
    assert.equal(other.messages.size, 0);
    await third.invoke('AddTo', other.id, group); // who has gone is no error
    assert.deepEqual(await client.invoke('Members', group), [client.id, third.id].sort());
  });

  test('who has been cut off does not keep the others from receiving', async t => {
    const clients = await connectAll(t), [client, other, third] = clients, group = randomUUID();
    for (const one of clients) await one.invoke('Join', group);
    other.balancer.cut();
    await client.invoke('ToGroup', group, 'a');
    await third.invoke('ToClient', other.id, 'b');
    assert.deepEqual(await delivered(client, third), [['a'], ['a']]);
  });

  test('a connection of another node is closed, with a reason', async t => {
    const other = await connectTo(t, 1, { retryDelay: 10 }), client = await connectTo(t, 0), witness = await connectTo(t, 1);
    await other.invoke('ToCaller', 'before');
    await client.invoke('Kick', other.id);
    assert.equal((await other.closes.next()).message, 'Server returned an error on close: kicked');
    assert.equal(other.connection.state, HubConnectionState.Disconnected);
    assert.equal(other.reconnecting.size, 0);
    assert.equal(await other.messages.next(), 'before');
    assert.equal(await fateOf(other.id, witness), 'error: kicked');
    await client.invoke('Kick', other.id); // who has gone is no error
    assert.equal(await client.invoke('Echo', 'goes on'), 'goes on');
  });

  test('objects have the form that they have at one node', async t => {
    const clients = await connectAll(t), objects = clients.map(client => client.callback('CustomObject'));
    const object = way.object({ name: 'é', value: 42 });
    await clients[0].invoke('CustomObjectToAll', object);
    for (const came of objects) assert.deepEqual(await came.next(), object);
  });
});
