// What hub methods take and return.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MessageType } from '@microsoft/signalr';
import { againstServer, idsOf } from './client.mjs';

againstServer([], ({ connect, connectAll, way }) => {
  test('values', async t => {
    const client = await connect(t);
    assert.equal(await client.invoke('Echo', 'hello'), 'hello');
    assert.equal(await client.invoke('Echo', ''), '');
    assert.equal(await client.invoke('Echo', 'é 漢字 😀 "\\<>&\u0000\u001e\u2028'), 'é 漢字 😀 "\\<>&\u0000\u001e\u2028');
    assert.equal(await client.invoke('Add', 2, -44), -42);
    assert.equal(await client.invoke('Service'), 'clock');
  });

  test('a method without a result', async t => {
    const client = await connect(t);
    assert.equal(await client.invoke('Nothing'), null);
    assert.deepEqual(client.received, [{ type: MessageType.Completion, invocationId: '0', result: null }]);
  });

  test('null', async t => {
    const client = await connect(t);
    assert.equal(await client.invoke('Null'), null);
    assert.equal(await client.invoke('Echo', null), null);
    assert.equal(await client.invoke('EchoComplexObject', null), null);
  });

  test('null is passed on', async t => {
    const [client, other] = await connectAll(t, 2);
    const [id, otherId] = await idsOf(client, other);
    await client.invoke('Join', 'null');
    for (const [method, ...before] of [
      ['InvokeWithString'], ['ToCaller'], ['ToAll'], ['ToClient', id], ['ToClients', [id]], ['ToAllExcept', [otherId]],
      ['ToGroup', 'null'], ['ToGroups', ['null']], ['ToGroupExcept', 'null', []],
    ]) {
      await client.invoke(method, ...before, null);
      assert.equal(await client.messages.next(), null, method);
    }
    await other.invoke('ToOthers', null);
    await other.invoke('ToOthersInGroup', 'null', null);
    assert.deepEqual(await client.messages.take(2), [null, null]);
    client.connection.on('Ask', question => question);
    assert.equal(await client.invoke('AskCaller', null), null);
    assert.equal(await other.invoke('AskClient', id, null), null);
  });

  test('integers have 32 bits', async t => {
    const client = await connect(t);
    assert.equal(await client.invoke('Add', 2 ** 31 - 1, 1), -(2 ** 31));
    for (const [method, ...args] of [['Add', 2 ** 31, 0], ['Burst', 2 ** 31], ['Slow', -(2 ** 31) - 1]]) {
      await assert.rejects(client.invoke(method, ...args), /Error binding arguments\./, method);
    }
    await assert.rejects(client.streamed('Counter', 2 ** 31, 0), /Error binding arguments\./);
  });

  test('an object from the server', async t => {
    const client = await connect(t);
    assert.deepEqual(await client.invoke('SendComplexObject'), way.object({
      string: 'hello world',
      intArray: [1, 2, 3],
      byteArray: way.bytes([1, 2, 3]),
      guid: '00010203-0405-0607-0706-050403020100',
      dateTime: '2000-01-01T00:00:00Z',
    }));
  });

  test('an object there and back', async t => {
    const client = await connect(t);
    const object = {
      string: 'text',
      intArray: [1, -2, 3],
      byteArray: way.bytes([0xfb, 0xff]),
      guid: '00010203-0405-0607-0706-050403020100',
      dateTime: '2002-03-04T05:06:07Z',
    };
    assert.deepEqual(await client.invoke('EchoComplexObject', way.object(object)), way.object(object));
    assert.deepEqual(await client.invoke('EchoComplexObject', object), way.object(object));
    const otherwiseSpelt = { String: 'text', IntArray: [1, -2, 3], BYTEARRAY: object.byteArray, Guid: object.guid, DateTime: object.dateTime, unknown: 1 };
    assert.deepEqual(await client.invoke('EchoComplexObject', otherwiseSpelt), way.object(object));
    const empty = way.object({
      string: null,
      intArray: null,
      byteArray: null,
      guid: '00000000-0000-0000-0000-000000000000',
      dateTime: '0001-01-01T00:00:00',
    });
    assert.deepEqual(await client.invoke('EchoComplexObject', {}), empty);
    assert.deepEqual(await client.invoke('EchoComplexObject', empty), empty);
  });

  test('an object to a callback', async t => {
    const client = await connect(t);
    const objects = client.callback('CustomObject');
    await client.invoke('SendCustomObject', { Name: 'Anna', value: 42 });
    await client.invoke('SendCustomObject', null);
    assert.deepEqual(await objects.take(2), [way.object({ name: 'Anna', value: 42 }), null]);
  });

  test('names of methods without regard to case', async t => {
    const client = await connect(t);
    assert.equal(await client.invoke('ID'), await client.invoke('Id'));
    assert.equal(await client.invoke('UserID'), await client.invoke('UserId'));
    assert.equal(await client.invoke('eCHO', 'hello'), 'hello');
    assert.equal(await client.invoke('RENAMED'), 'renamed');
  });

  test('names of callbacks without regard to case', async t => {
    const client = await connect(t);
    const messages = client.callback('mESSAGE');
    await client.invoke('InvokeWithString', 'hello');
    assert.equal(await messages.next(), 'hello');
  });

  test('send does not wait for the method, and gets no answer', async t => {
    const client = await connect(t);
    await client.send('ToCaller', 'hello');
    await client.send('Echo', 'nobody hears this');
    assert.equal(await client.messages.next(), 'hello');
    assert.equal(await client.invoke('Echo', 'answered'), 'answered');
    assert.deepEqual(client.receivedOfType(MessageType.Completion), [{ type: MessageType.Completion, invocationId: '0', result: 'answered' }]);
  });
});
