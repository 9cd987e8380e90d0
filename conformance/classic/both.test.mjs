// One hub with clients of SignalR 2 and of ASP.NET Core SignalR.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HttpTransportType } from '@microsoft/signalr';
import { connect as connectCore, json } from '../node/client.mjs';
import { againstServer, upTo } from './client.mjs';

const core = { transport: 'WebSockets', ...json, options: { transport: HttpTransportType.WebSockets } };

againstServer(({ shared, order, connect }) => {
  /** A client of each kind. */
  async function connectBoth(t, query = {}) {
    const classic = await connect(t, { qs: query });
    const modern = await connectCore(t, core, `${shared.url}/classichub?${new URLSearchParams(query)}`);
    modern.got = modern.callback('got');
    return { classic, modern };
  }

  test('everybody', async t => {
    const { classic, modern } = await connectBoth(t);
    await classic.invoke('All', 'a');
    await modern.invoke('All', 'b');
    await order('all', { text: 'c' });
    assert.deepEqual(await classic.got.take(3), ['a', 'b', 'c']);
    assert.deepEqual(await modern.got.take(3), ['a', 'b', 'c']);
  });

  test('others', async t => {
    const { classic, modern } = await connectBoth(t);
    await classic.invoke('Others', 'a');
    await modern.invoke('Others', 'b');
    await order('all', { text: 'the end' });
    assert.deepEqual(await classic.got.upTo('the end'), ['b']);
    assert.deepEqual(await modern.got.upTo('the end'), ['a']);
  });

  test('one by its id', async t => {
    const { classic, modern } = await connectBoth(t);
    const { Id } = await modern.invoke('WhoAmI');
    await classic.invoke('ToClient', Id, 'a');
    await modern.invoke('ToClient', classic.id, 'b');
    assert.deepEqual([await modern.got.next(), await classic.got.next()], ['a', 'b']);
  });

  test('a user with both', async t => {
    const { classic, modern } = await connectBoth(t, { user: 'ada of both' });
    await order('user', { user: 'ada of both', text: 'a' });
    assert.deepEqual([await modern.got.next(), await classic.got.next()], ['a', 'a']);
  });

  test('objects', async t => {
    const ada = { Name: 'Ada', Age: 36, Address: { Street: 'here', Zip: '1' }, Tags: ['x'] };
    for (const client of Object.values(await connectBoth(t))) assert.deepEqual(await client.invoke('EchoPerson', ada), ada);
  });

  test('a group gets everything in one order, whoever sends', async t => {
    const { classic, modern } = await connectBoth(t), other = await connect(t), group = `both ${classic.id}`, count = 100;
    for (const client of [classic, modern, other]) await client.invoke('Join', group);
    const sender = async (name, send) => {
      for (const i of upTo(count)) await send(group, `${name} ${i}`);
    };
    await Promise.all([
      sender('classic', (...args) => classic.invoke('ToGroup', ...args)),
      sender('modern', (...args) => modern.invoke('ToGroup', ...args)),
      sender('outside', (group, text) => order('group', { group, text })),
    ]);
    const [one, two, three] = await Promise.all([classic, modern, other].map(({ got }) => got.take(3 * count)));
    assert.deepEqual(two, one);
    assert.deepEqual(three, one);
    for (const name of ['classic', 'modern', 'outside']) {
      assert.deepEqual(one.filter(text => text.startsWith(name)), upTo(count).map(i => `${name} ${i}`));
    }
  });
});
