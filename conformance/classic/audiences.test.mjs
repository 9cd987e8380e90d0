// Who gets what a hub, or somebody outside of hubs, sends.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { againstServer, upTo } from './client.mjs';

const newName = () => randomUUID();

againstServer(({ connect, newClient, order }) => {
  const connectAll = (t, count, options) => Promise.all(upTo(count).map(() => connect(t, options)));

  /**
   * Checks that each client has been sent this, in order, and no more. A last message to everybody shows that no more will come: it may overtake
   * others, so those are waited for first.
   */
  async function check(clients, expected) {
    const came = await Promise.all(clients.map(({ got }, i) => got.take(expected[i].length)));
    const end = newName();
    await clients[0].invoke('All', end);
    const more = await Promise.all(clients.map(({ got }) => got.upTo(end)));
    assert.deepEqual(came.map((messages, i) => [...messages, ...more[i]]), expected);
  }

  test('all, and others', async t => {
    const clients = await connectAll(t, 3);
    await clients[0].invoke('All', 'a');
    await clients[1].invoke('Others', 'b');
    await check(clients, [['a', 'b'], ['a'], ['a', 'b']]);
  });

  test('all but some', async t => {
    const clients = await connectAll(t, 3);
    await clients[0].invoke('AllExcept', [clients[0].id, clients[1].id], 'a');
    await clients[0].invoke('AllExcept', [], 'b');
    await clients[0].invoke('AllExcept', ['nobody'], 'c');
    await check(clients, [['b', 'c'], ['b', 'c'], ['a', 'b', 'c']]);
  });

  test('connections', async t => {
    const clients = await connectAll(t, 3);
    await clients[0].invoke('ToClient', clients[1].id, 'a');
    await clients[0].invoke('ToClients', [clients[1].id, clients[0].id], 'b');
    await clients[0].invoke('ToClients', [], 'c');
    await clients[0].invoke('ToClient', 'nobody', 'd');
    await clients[0].invoke('ToClients', ['nobody', clients[2].id], 'e');
    await check(clients, [['b'], ['a', 'b'], ['e']]);
  });

  test('a group', async t => {
    const clients = await connectAll(t, 3), group = newName();
    await clients[0].invoke('Join', group);
    await clients[1].invoke('Join', group);
    await clients[2].invoke('Join', group.toUpperCase() + 'X');
    await clients[2].invoke('ToGroup', group, 'a');
    await clients[0].invoke('ToGroupExcept', group, [clients[1].id], 'b');
    await clients[0].invoke('OthersInGroup', group, 'c');
    await clients[2].invoke('OthersInGroup', group, 'd');
    await clients[2].invoke('ToGroup', newName(), 'e');
    await check(clients, [['a', 'b', 'd'], ['a', 'c', 'd'], []]);
  });

  test('the names of groups have a case', async t => {
    const clients = await connectAll(t, 2), group = newName();
    await clients[0].invoke('Join', `${group}-a`);
    await clients[1].invoke('Join', `${group}-A`);
    await clients[0].invoke('ToGroup', `${group}-A`, 'x');
    await check(clients, [[], ['x']]);
  });

  test('groups', async t => {
    const clients = await connectAll(t, 3), groups = [newName(), newName(), newName()];
    for (const [i, client] of clients.entries()) await client.invoke('Join', groups[i]);
    await clients[0].invoke('ToGroups', groups.slice(0, 2), 'a');
    await clients[0].invoke('ToGroups', [], 'b');
    await clients[0].invoke('OthersInGroups', groups, 'c');
    await clients[1].invoke('OthersInGroups', groups.slice(0, 2), 'd');
    await check(clients, [['a', 'd'], ['a', 'c'], ['c']]);
  });

  test('a group that is joined three times', async t => {
    const clients = await connectAll(t, 2), group = newName();
    for (let i = 0; i < 3; i++) await clients[0].invoke('Join', group);
    await clients[1].invoke('ToGroup', group, 'a');
    await clients[0].invoke('Leave', group);
    await clients[1].invoke('ToGroup', group, 'b');
    await check(clients, [['a'], []]);
  });

  test('after a group is left', async t => {
    const clients = await connectAll(t, 2), group = newName();
    await clients[0].invoke('Join', group);
    await clients[1].invoke('ToGroup', group, 'a');
    await clients[0].invoke('Leave', group);
    for (const i of upTo(10)) await clients[1].invoke('ToGroup', group, `${i}`);
    await clients[0].invoke('Join', group);
    await clients[1].invoke('ToGroup', group, 'b');
    await clients[0].invoke('Leave', newName()); // was never in it
    await check(clients, [['a', 'b'], []]);
  });

  test('ten groups one behind the other', async t => {
    const client = await connect(t), groups = upTo(10).map(newName);
    for (const group of groups) await client.invoke('Join', group);
    for (const group of groups) await client.invoke('ToGroup', group, group);
    assert.deepEqual((await client.got.take(10)).toSorted(), groups.toSorted());
    await check([client], [[]]);
  });

  test('a group that is joined and sent to in one call', async t => {
    const client = await connect(t);
    for (const i of upTo(5)) await client.invoke('JoinAndSend', newName(), `${i}`);
    await check([client], [upTo(5).map(String)]);
  });

  test('somebody else is put into a group', async t => {
    const clients = await connectAll(t, 2), group = newName();
    await clients[0].invoke('JoinOther', clients[1].id, group);
    await clients[0].invoke('ToGroup', group, 'a');
    await check(clients, [[], ['a']]);
  });

  test('odd names of groups', async t => {
    const clients = await connectAll(t, 2);
    for (const name of ['group$&+,/:;=?@[]1', '"\\\'', 'TestHub.x', '\u00e9\u{1f600}', ' ']) {
      await clients[0].invoke('Join', name);
      await clients[1].invoke('ToGroup', name, name);
    }
    await check(clients, [['group$&+,/:;=?@[]1', '"\\\'', 'TestHub.x', '\u00e9\u{1f600}', ' '], []]);
  });

  test('the id of a connection is no group', async t => {
    const clients = await connectAll(t, 2);
    await clients[0].invoke('ToGroup', clients[1].id, 'a');
    await clients[1].invoke('Join', clients[0].id);
    await clients[1].invoke('ToClient', clients[0].id, 'b');
    await check(clients, [['b'], []]);
  });

  test('each hub has groups of its own', async t => {
    const client = newClient(t), group = newName();
    client.got = client.on('got');
    const other = client.on('got', 'otherHub');
    await client.start();
    await client.invokeOn('otherHub', 'Join', group);
    await client.invoke('ToGroup', group, 'nobody');
    await client.invokeOn('otherHub', 'ToGroup', group, 'a');
    assert.equal(await other.next(), 'a');
    await client.invoke('Join', group);
    await client.invoke('ToGroup', group, 'b');
    await check([client], [['b']]);
    assert.equal(other.size, 0);
  });

  test('who has not named a hub is sent nothing of it', async t => {
    const client = newClient(t), witness = await connect(t);
    const other = client.on('got', 'otherHub');
    client.proxy();
    await client.start();
    await witness.invoke('All', 'a');
    await witness.invoke('ToClient', client.id, 'b');
    await client.invoke('CallMe', 'c');
    await client.invokeOn('otherHub', 'All', 'd');
    assert.equal(await other.next(), 'd');
    assert.deepEqual(client.received.filter(({ H }) => H).map(({ H, A }) => [H, A]), [['OtherHub', ['d']]]);
  });

  test('users', async t => {
    const [ada, bob] = [newName(), newName()];
    const clients = await Promise.all([ada, ada, bob].map(user => connect(t, { qs: { user } })));
    await clients[2].invoke('ToUser', ada, 'a');
    await clients[2].invoke('ToUsers', [ada, bob], 'b');
    await clients[2].invoke('ToUsers', [], 'c');
    await clients[2].invoke('ToUser', newName(), 'd');
    await check(clients, [['a', 'b'], ['a', 'b'], ['b']]);
  });

  test('sent from outside', async t => {
    const user = newName(), group = newName();
    const clients = [await connect(t, { qs: { user } }), await connect(t), await connect(t)];
    const [one, two, three] = clients.map(({ id }) => id);
    await order('all', { text: 'a' });
    await order('all', { text: 'b', except: [one, three] });
    await order('client', { id: two, text: 'c' });
    await order('clients', { id: [one, three], text: 'd' });
    await order('user', { user, text: 'e' });
    await order('users', { user: [user, newName()], text: 'f' });
    await clients[0].invoke('Join', group);
    await clients[1].invoke('Join', group);
    await order('group', { group, text: 'g' });
    await order('group', { group, text: 'h', except: one });
    await order('groups', { group: [group, newName()], text: 'i' });
    await check(clients, [['a', 'd', 'e', 'f', 'g', 'i'], ['a', 'b', 'c', 'g', 'h', 'i'], ['a', 'd']]);
  });

  test('groups from outside', async t => {
    const clients = await connectAll(t, 2), group = newName();
    await order('join', { id: clients[1].id, group });
    await clients[0].invoke('ToGroup', group, 'a');
    await order('group', { group, text: 'b' });
    await order('leave', { id: clients[1].id, group });
    await order('group', { group, text: 'c' });
    await check(clients, [[], ['a', 'b']]);
  });

  test('another method and another hub from outside', async t => {
    const client = newClient(t);
    client.got = client.on('got');
    const shouted = client.on('shouted'), other = client.on('got', 'otherHub');
    await client.start();
    await order('client', { id: client.id, text: 'a', method: 'shouted' });
    await order('client', { id: client.id, text: 'b', hub: 'OtherHub' });
    assert.equal(await shouted.next(), 'a');
    assert.equal(await other.next(), 'b');
    await check([client], [[]]);
  });

  test('who has stopped gets no more, and the others do', async t => {
    const clients = await connectAll(t, 3), group = newName();
    for (const client of clients) await client.invoke('Join', group);
    const { id } = clients[2];
    clients[2].stop();
    await clients[0].invoke('ToGroup', group, 'a');
    await clients[0].invoke('ToClient', id, 'b');
    await check(clients.slice(0, 2), [['a'], ['a']]);
    assert.equal(clients[2].got.size, 0);
  });
});
