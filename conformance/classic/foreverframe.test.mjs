// The transport of browsers without event streams: a page in a frame, with a script for each message.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serverForAll } from './client.mjs';
import { connectRaw, RawClient } from './raw.mjs';

const shared = serverForAll();
const url = () => `${shared.url}/signalr`;
const frame = { qs: { frameId: '7' } };

test('the page', async t => {
  const client = await connectRaw(t, url(), 'foreverFrame', frame), { link } = client;
  assert.equal(link.headers['content-type'], 'text/html; charset=UTF-8');
  assert.equal(link.headers['x-content-type-options'], 'nosniff');
  assert.match(link.prologue, /^<!DOCTYPE html><html><head>/);
  assert.match(link.prologue, /\$\.signalR\.transports\.foreverFrame/);
  assert.match(link.prologue, /ff\.getConnection\('7'\)/);
  assert.match(link.prologue, /ff\.started\(c\)/);
  assert.match(link.prologue, /<\/head><body>\s*$/);
});

test('messages', async t => {
  const client = await connectRaw(t, url(), 'foreverFrame', frame);
  const text = '</script><!-- & \u2028';
  assert.equal(await client.invoke('Echo', text), text);
  await client.invoke('CallMe', text);
  assert.deepEqual(await client.got(1), [text]);
  while (!(await client.link.frames.next()).includes('\\u003c/script\\u003e'));
});

test('signs of life', async t => {
  const client = await connectRaw(t, url(), 'foreverFrame', frame);
  while (await client.link.frames.next() !== '{}');
});

test('coming back, and the end', async t => {
  const client = await connectRaw(t, url(), 'foreverFrame', { ...frame, hubs: ['EventHub'] });
  client.cut();
  await shared.order('client', { hub: 'EventHub', id: client.id, text: 'x' });
  await client.reconnect();
  for (let text; text !== 'x';) [text] = await client.got(1);
  await client.abort();
  assert.equal(await client.link.ended(), 'end');
  assert.deepEqual((await shared.logged(client.id, /^disconnected/)).filter(entry => !entry.startsWith('module')),
    ['connected:foreverFrame:', 'reconnected', 'disconnected:true::']);
});

test('frames whose number is none', async t => {
  for (const frameId of [undefined, '', ' ', 'invalid', '-100', '1,000', '1.5', '4294967296', '\');alert(1);(\'']) {
    const client = await new RawClient(url(), 'foreverFrame', { qs: { frameId } }).negotiate();
    t.after(() => client.cut());
    await assert.rejects(client.receive('/connect'), { status: 500 }, `${frameId}`);
  }
});
