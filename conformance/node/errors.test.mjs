// What a client is told when a call fails.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MessageType } from '@microsoft/signalr';
import { reference } from '../server.mjs';
import { againstServer, turnedAway } from './client.mjs';

const noPanic = reference && 'The original has no panics, and its hub has no method that panics.';

const missing = name => `Failed to invoke '${name}' due to an error on the server. HubException: Method does not exist.`;

/** These texts are the same with and without detailed errors. */
function alwaysTheSame(connect) {
  test('HubException', async t => {
    const client = await connect(t);
    await assert.rejects(client.invoke('ThrowHubException', 'é "quoted"'),
      { message: `An unexpected error occurred invoking 'ThrowHubException' on the server. HubException: é "quoted"` });
    await assert.rejects(client.invoke('ThrowHubException', ''),
      { message: `An unexpected error occurred invoking 'ThrowHubException' on the server. HubException: ` });
  });

  test('unknown methods', async t => {
    const client = await connect(t);
    for (const name of ['nOsUCH', 'Original', 'OnConnected', 'OnDisconnected', 'Call', 'Clients', 'Groups']) {
      await assert.rejects(client.invoke(name, 1), { message: missing(name) });
    }
  });

  test('the connection goes on', async t => {
    const client = await connect(t);
    await assert.rejects(client.invoke('Panic', 'boom'));
    await assert.rejects(client.invoke('ThrowException', 'boom'));
    await assert.rejects(client.invoke('nOsUCH'));
    assert.equal(await client.invoke('Echo', 'still there'), 'still there');
    assert.equal(client.closes.size, 0);
  });

  test('send is silent about errors', async t => {
    const client = await connect(t);
    await client.send('ThrowException', 'boom');
    await client.send('ThrowHubException', 'boom');
    await client.send('Panic', 'boom');
    await client.send('nOsUCH');
    await client.send('Add', 1);
    // Ten calls take every slot that the hub gives a client: those before are over.
    const ten = Array.from({ length: 10 }, () => client.invoke('Slow', 20));
    assert.deepEqual(await Promise.all(ten), Array(10).fill(20));
    const answered = client.received.map(({ type, invocationId, result }) => [type, Number(invocationId), result]).sort(([, a], [, b]) => a - b);
    assert.deepEqual(answered, Array.from({ length: 10 }, (_, id) => [MessageType.Completion, id, 20]));
  });
}

describe('detailed errors', () => againstServer([], ({ connect }) => {
  alwaysTheSame(connect);

  test('an error of the method', async t => {
    const client = await connect(t);
    await assert.rejects(client.invoke('ThrowException', 'boom'),
      { message: `An unexpected error occurred invoking 'ThrowException' on the server. Error: boom` });
    // A known method is named as it was declared.
    await assert.rejects(client.invoke('tHROWeXCEPTION', 'boom'),
      { message: `An unexpected error occurred invoking 'ThrowException' on the server. Error: boom` });
  });

  test('errors without a text', async t => {
    const client = await connect(t);
    await assert.rejects(client.invoke('ThrowException', null),
      { message: `An unexpected error occurred invoking 'ThrowException' on the server. Error: Operation is not valid due to the current state of the object.` });
    await assert.rejects(client.invoke('ThrowHubException', null), { message:
      `An unexpected error occurred invoking 'ThrowHubException' on the server. HubException: Exception of type 'Microsoft.AspNetCore.SignalR.HubException' was thrown.` });
  });

  test('null where a name is needed', async t => {
    const client = await connect(t, '/testhub?some=1');
    await client.invoke('Join', 'group');
    for (const [name, method, ...args] of [
      ['key', 'Query', null], ['key', 'GetCookie', null], ['key', 'Fate', null], ['groupName', 'Join', null], ['groupName', 'Leave', null],
      ['connectionId', 'ToClient', null, 'hello'], ['source', 'ToClients', null, 'hello'], ['source', 'ToAllExcept', null, 'hello'],
      ['groupName', 'ToGroup', null, 'hello'], ['groupName', 'ToGroupExcept', null, [], 'hello'], ['source', 'ToGroupExcept', 'group', null, 'hello'],
      ['groupName', 'ToOthersInGroup', null, 'hello'], ['userId', 'ToUser', null, 'hello'], ['source', 'ToUsers', null, 'hello'],
      ['connectionId', 'AskClient', null, 'who?'],
    ]) {
      await assert.rejects(client.invoke(method, ...args),
        { message: `An unexpected error occurred invoking '${method}' on the server. Error: Value cannot be null. (Parameter '${name}')` });
    }
  });

  test('a panic', { skip: noPanic }, async t => {
    const client = await connect(t);
    await assert.rejects(client.invoke('Panic', 'boom'), { message: `An unexpected error occurred invoking 'Panic' on the server. Error: panic: boom` });
  });

  test('wrong number of arguments', async t => {
    const client = await connect(t);
    await assert.rejects(client.invoke('Add', 1),
      { message: `Failed to invoke 'Add' due to an error on the server. Error: Invocation provides 1 argument(s) but target expects 2.` });
    await assert.rejects(client.invoke('aDD', 1, 2, 3),
      { message: `Failed to invoke 'Add' due to an error on the server. Error: Invocation provides 3 argument(s) but target expects 2.` });
    for (const [method, declared] of [['Nothing', 'Nothing'], ['ID', 'Id'], ['userid', 'UserId'], ['RENAMED', 'renamed']]) {
      await assert.rejects(client.invoke(method, null),
        { message: `Failed to invoke '${declared}' due to an error on the server. Error: Invocation provides 1 argument(s) but target expects 0.` });
    }
  });

  test('arguments of other types', async t => {
    const client = await connect(t);
    for (const [a, b] of [['1', 2], [1.5, 2], [null, 2], [1, true], [1, {}], [1, 2 ** 31]]) {
      await assert.rejects(client.invoke('Add', a, b), {
        message: `Failed to invoke 'Add' due to an error on the server. Error: Error binding arguments. ` +
          'Make sure that the types of the provided values match the types of the hub method being invoked.',
      });
    }
  });
}));

describe('generic errors', () => againstServer(['-detailed=false'], ({ connect, newClient, way }) => {
  alwaysTheSame(connect);

  test('an error of the method', async t => {
    const client = await connect(t);
    await assert.rejects(client.invoke('ThrowException', 'secret'), { message: `An unexpected error occurred invoking 'ThrowException' on the server.` });
  });

  test('a panic', { skip: noPanic }, async t => {
    const client = await connect(t);
    await assert.rejects(client.invoke('Panic', 'secret'), { message: `An unexpected error occurred invoking 'Panic' on the server.` });
  });

  test('wrong arguments', async t => {
    const client = await connect(t);
    await assert.rejects(client.invoke('Add', 1), { message: `Failed to invoke 'Add' due to an error on the server.` });
    await assert.rejects(client.invoke('Add', '1', 2), { message: `Failed to invoke 'Add' due to an error on the server.` });
  });

  for (const [what, path] of [['OnConnected fails', '/testhub?fail=1'], ['the hub cannot be created', '/uncreatable']]) {
    test(what, async t => {
      const { error } = await turnedAway(way, () => newClient(t, path));
      assert.equal(error.message, 'Server returned an error on close: Connection closed with an error.');
    });
  }

  test('a message is too large', async t => {
    const client = await connect(t);
    await client.send('Echo', 'x'.repeat(32_768));
    assert.equal((await client.closes.next()).message, 'Server returned an error on close: Connection closed with an error.');
  });
}));
