// Calls that fail, and what the official client is told.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { againstServer, generic } from './client.mjs';

const exception = message => ({ message, source: 'Exception' });

againstServer(({ connect, newClient, transport }) => {
  test('errors are not told', async t => {
    const client = await connect(t);
    for (const method of ['Fail', 'FailLater', 'Canceled']) await assert.rejects(client.invoke(method), generic(method));
    await assert.rejects(client.invoke('fAIL'), generic('fAIL'));
  });

  test('errors are told where the endpoint says so', async t => {
    const client = await connect(t, { path: '/detailed' });
    await assert.rejects(client.invoke('Fail'), exception('secret reason'));
    await assert.rejects(client.invoke('FailLater'), exception('secret reason'));
  });

  test('a call that is canceled, where it is told', async t => {
    const client = await connect(t, { path: '/detailed' });
    await assert.rejects(client.invoke('Canceled'), exception('The operation was canceled.'));
  });

  for (const path of ['/signalr', '/detailed']) {
    test(`errors that are meant for the client, at ${path}`, async t => {
      const client = await connect(t, { path });
      await assert.rejects(client.invoke('FailHub'), { message: 'for you', source: 'HubException', data: undefined });
      await assert.rejects(client.invoke('FailHubData'), { message: 'for you', source: 'HubException', data: { user: 'ada', Code: 7 } });
    });
  }

  const unknown = name => exception(`'${name}' method could not be resolved. No method found with that name.`);

  test('details of methods that are not found', async t => {
    const client = await connect(t, { path: '/detailed' });
    await assert.rejects(client.invoke('Nope'), unknown('Nope'));
    await assert.rejects(client.invoke('Nope', 1, 2), unknown('Nope'));
    await assert.rejects(client.invoke('OnConnected'), unknown('OnConnected'));
  });

  test('details of numbers of arguments that do not fit', async t => {
    const client = await connect(t, { path: '/detailed' });
    await assert.rejects(client.invoke('Add', 1), /^Error: 'Add' method could not be resolved\. Potential candidates are: \nAdd\(/);
    await assert.rejects(client.invoke('Overload', 1, 2, 3), /^Error: 'Overload' method could not be resolved\. Potential candidates are: \nOverload\(/);
    await assert.rejects(client.invoke('Same', 1), /^Error: 'Same' method could not be resolved\. /);
  });

  test('candidates are looked for in the spelling of the client', async t => {
    const client = await connect(t, { path: '/detailed' });
    await assert.rejects(client.invoke('add', 1), unknown('add'));
  });

  test('details of arguments that do not fit', async t => {
    const client = await connect(t, { path: '/detailed' });
    await assert.rejects(client.invoke('Add', 1.6, 1), error => {
      assert.equal(error.source, 'Exception');
      assert.doesNotMatch(error.message, /^There was an error invoking/);
      return error.message.length > 0;
    });
  });

  test('a call that fails leaves the connection as it was', async t => {
    const client = await connect(t);
    const results = await Promise.allSettled([client.invoke('Fail'), client.invoke('Echo', 'x'), client.invoke('FailHub'), client.invoke('Nope'), client.invoke('Echo', 'y')]);
    assert.deepEqual(results.map(({ value, reason }) => value ?? reason.message), [generic('Fail').message, 'x', 'for you', generic('Nope').message, 'y']);
    assert.equal(client.connection.state, 1);
    assert.equal(client.errors.size, 0);
  });

  test('a hub that does not exist', async t => {
    const client = await connect(t);
    const call = client.proxy('nowhere').invoke('Echo', 'x');
    if (transport !== 'webSockets') {
      await assert.rejects(new Promise((done, failed) => call.then(done, failed)), /Send failed/);
    }
    assert.equal(await client.invoke('Echo', 'x'), 'x');
    // Over a WebSocket there is no answer, and the connection stays.
    assert.equal(call.state(), transport === 'webSockets' ? 'pending' : 'rejected');
    assert.equal(client.connection.state, 1);
  });

  if (transport !== 'webSockets') {
    test('a token that is none fails that call alone', async t => {
      const client = await connect(t), { token } = client.connection;
      client.connection.token = 'x';
      await assert.rejects(client.invoke('Echo', 'x'), /Send failed/);
      client.connection.token = token;
      assert.equal(await client.invoke('Echo', 'x'), 'x');
    });
  }

  test('a hub that does not exist, among those of the connection', async t => {
    const client = newClient(t);
    client.on('got');
    client.on('got', 'nowhere');
    await assert.rejects(client.start(), /Error during negotiation request/);
  });
});
