// Servers that are told to end by SIGTERM, and followed by others at the same address: the official client loses no call.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HttpTransportType, HubConnectionState, MessageType } from '@microsoft/signalr';
import { build, freePort, reference, start, startServer } from '../server.mjs';
import { connect, json, messagePack, overEveryWay, until, within } from './client.mjs';
import { newKey } from './later.mjs';

const leftOut = reference && 'The original\'s program has no methods that wait for an order, and does not say whether it is ready.';
const noDemo = reference && 'The original has no such program.';

/** Nothing more than that the server ends the connection, and that the client may come back. */
const allowsReconnect = [{ type: MessageType.Close, allowReconnect: true }];

const status = async (url, options) => (await within(fetch(url, options), url)).status;

/** Reconnects to the server that begin starts, where another one has just ended. */
async function follow(t, client, begin) {
  const server = await begin();
  t.after(() => server.stop());
  await client.reconnected.next();
  assert.equal(client.connection.state, HubConnectionState.Connected);
  assert.equal(client.reconnecting.size + client.reconnected.size + client.closes.size, 0);
}

async function endInACall(t, way, options) {
  const server = await startServer();
  t.after(() => server.stop());
  const order = async (path, key = '') => (await within(fetch(`${server.control}/${path}?key=${key}`), path)).text();
  const key = newKey();
  const noted = text => until(async () => JSON.parse(await order('notes', key)).includes(text), text);
  const client = await connect(t, way, `${server.url}/later-one?key=${key}`, { retryDelay: 50, ...options });
  const id = await client.invoke('Id');

  const calls = [client.invoke('Hold', key, 'call'), client.invoke('Echo', 'it waits for the other one')];
  await noted('call begins');
  assert.equal(await status(`${server.control}/readyz`), 200);
  const exit = server.stop('SIGTERM');
  await noted('gone'); // The connection has begun to close.
  assert.equal(await status(`${server.control}/readyz`), 503);
  assert.equal(await status(`${server.control}/livez`), 200);
  assert.equal(await status(`${server.url}/later-one/negotiate?negotiateVersion=1`, { method: 'POST' }), 503);
  assert.equal(client.connection.state, HubConnectionState.Connected);
  assert.deepEqual(client.receivedOfType(MessageType.Close), []);

  await order('release', key);
  assert.deepEqual(await Promise.all(calls), [null, 'it waits for the other one']);
  assert.equal(await client.reconnecting.next(), undefined);
  assert.deepEqual(client.receivedOfType(MessageType.Close), allowsReconnect);
  assert.equal(await within(exit, 'the end of the server'), 0);

  await follow(t, client, () => startServer([], server.port));
  assert.notEqual(await client.invoke('Id'), id);
  assert.equal(await client.invoke('Echo', 'hello'), 'hello');
}

async function endTheDemo(t, way) {
  const port = await freePort();
  const begin = () => start(build('cmd/demo'), ['-addr', `127.0.0.1:${port}`, '-node', 'alone', '-client', import.meta.filename], port, { stdio: 'ignore' });
  const demo = await begin();
  t.after(() => demo.stop());
  const client = await connect(t, way, `http://127.0.0.1:${port}/hubs/chat?name=ada`, { retryDelay: 50 });
  assert.equal(await client.invoke('Enter', 'lobby'), 'alone');
  assert.equal(await status(`http://127.0.0.1:${port}/readyz`), 200);
  const exit = demo.stop('SIGTERM');
  assert.equal(await client.reconnecting.next(), undefined);
  assert.deepEqual(client.receivedOfType(MessageType.Close), allowsReconnect);
  assert.equal(await within(exit, 'the end of the demo'), 0);

  await follow(t, client, begin);
  assert.equal(await client.invoke('Enter', 'lobby'), 'alone');
}

test('the demo finishes what it answers', { skip: noDemo }, async t => {
  const directory = mkdtempSync(join(tmpdir(), 'troupe-')), file = join(directory, 'large'), size = 16 << 20; // more than sockets hold
  t.after(() => rmSync(directory, { recursive: true }));
  writeFileSync(file, Buffer.alloc(size));
  const port = await freePort();
  const demo = await start(build('cmd/demo'), ['-addr', `127.0.0.1:${port}`, '-client', file], port, { stdio: 'ignore' });
  t.after(() => demo.stop());
  const { body } = await within(fetch(`http://127.0.0.1:${port}/signalr.min.js`), 'the beginning of the answer');
  const exit = demo.stop('SIGTERM');
  await until(() => fetch(`http://127.0.0.1:${port}/livez`).then(() => false, () => true), 'the demo to accept nobody');
  let bytes = 0;
  for await (const chunk of body) bytes += chunk.length;
  assert.equal(bytes, size);
  assert.equal(await within(exit, 'the end of the demo'), 0);
});

overEveryWay(way => {
  test('SIGTERM in the middle of a call', { skip: leftOut }, t => endInACall(t, way));
  test('SIGTERM for the demo', { skip: noDemo }, t => endTheDemo(t, way));
});

describe('with stateful reconnect', { skip: leftOut }, () => {
  for (const way of [{ name: 'JSON', ...json }, { name: 'MessagePack', ...messagePack }]) {
    way.options = { transport: HttpTransportType.WebSockets };
    test(`SIGTERM in the middle of a call, ${way.name}`, t => endInACall(t, way, { stateful: true }));
  }
});
