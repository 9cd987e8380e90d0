// How connections end.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HubConnectionState, MessageType } from '@microsoft/signalr';
import { reference } from '../server.mjs';
import { againstServer, canceled, fateOf, idsOf, turnedAway } from './client.mjs';

const tooLarge = 'Connection closed with an error. Error: The maximum message size of 32768B was exceeded. ' +
  'The message size can be configured in AddHubOptions.';
const uncreatable = reference ? `Unable to resolve service for type 'System.Object' while attempting to activate 'UncreatableHub'.` : 'the hub cannot be created';

againstServer([], ({ connect, connectAll, newClient, way }) => {
  test('the server aborts', async t => {
    const [client, witness] = await connectAll(t, 2);
    const [id] = await idsOf(client);
    await client.invoke('ToCaller', 'before');
    await assert.rejects(client.invoke('Abort'), canceled);
    assert.equal(await client.closes.next(), undefined);
    assert.equal(client.connection.state, HubConnectionState.Disconnected);
    assert.deepEqual(client.receivedOfType(MessageType.Close), [{ type: MessageType.Close }]);
    assert.equal(await fateOf(id, witness), 'closed');
  });

  test('no reconnect when the server aborts', async t => {
    const client = await connect(t, '/testhub', { retryDelay: 0 });
    await assert.rejects(client.invoke('Abort'), canceled);
    assert.equal(await client.closes.next(), undefined);
    assert.equal(client.reconnecting.size, 0);
  });

  test('the client stops', async t => {
    const [client, witness] = await connectAll(t, 2);
    const [id] = await idsOf(client);
    const pending = assert.rejects(client.invoke('Slow', 600_000), canceled);
    await client.invoke('Echo', 'behind it'); // a call that is still on its way fails otherwise
    await client.stop();
    assert.equal(await client.closes.next(), undefined);
    await pending;
    assert.equal(await fateOf(id, witness), 'closed');
  });

  test('the client starts again', async t => {
    const client = await connect(t);
    const before = await client.invoke('Id');
    await client.stop();
    await client.start();
    const after = await client.invoke('Id');
    assert.notEqual(after, before);
    assert.equal(client.connection.connectionId, way.options.skipNegotiation ? null : after);
    assert.equal(await client.invoke('Fate', after), null);
    assert.equal(await fateOf(before, client), 'closed');
  });

  for (const [what, path, text] of [
    ['OnConnected fails', '/testhub?fail=1', 'Connection closed with an error. Error: refused'],
    ['the hub cannot be created', '/uncreatable', `Connection closed with an error. Error: ${uncreatable}`],
  ]) {
    test(what, async t => {
      const { client, error } = await turnedAway(way, () => newClient(t, path, { retryDelay: 0 }));
      assert.equal(error.message, `Server returned an error on close: ${text}`);
      assert.equal(client.connection.state, HubConnectionState.Disconnected);
      assert.equal(client.reconnecting.size, 0);
      assert.deepEqual(client.received, [{ type: MessageType.Close, error: text }]);
    });
  }

  test('a message that is not too large', async t => {
    const client = await connect(t);
    const text = 'x'.repeat(32_600);
    assert.equal(await client.invoke('Echo', text), text);
  });

  test('a message that is too large', async t => {
    const [client, witness] = await connectAll(t, 2);
    const [id] = await idsOf(client);
    await assert.rejects(client.invoke('Echo', 'x'.repeat(32_768)), { message: `Server returned an error on close: ${tooLarge}` });
    assert.equal((await client.closes.next()).message, `Server returned an error on close: ${tooLarge}`);
    assert.deepEqual(client.receivedOfType(MessageType.Close), [{ type: MessageType.Close, error: tooLarge, allowReconnect: true }]);
    // The original's hub tells only the type of the error.
    assert.match(await fateOf(id, witness), reference ? /^error: InvalidDataException$/ : /^error: The maximum message size of 32768B was exceeded\./);
  });

  test('a client may reconnect after a message that was too large', async t => {
    const client = await connect(t, '/testhub', { retryDelay: 0 });
    await client.send('Echo', 'x'.repeat(32_768));
    assert.equal((await client.reconnecting.next()).message, `Server returned an error on close: ${tooLarge}`);
    await client.reconnected.next();
    assert.equal(await client.invoke('Echo', 'again'), 'again');
    assert.equal(client.closes.size, 0);
  });

  test('several messages that are too large only together', async t => {
    const client = await connect(t);
    const texts = ['a', 'b', 'c'].map(letter => letter.repeat(20_000));
    assert.deepEqual(await Promise.all(texts.map(text => client.invoke('Echo', text))), texts);
  });
});
