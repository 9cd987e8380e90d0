// Calls of hub methods by the official client: arguments, results and how methods are found.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { againstServer, generic, upTo, within } from './client.mjs';

const odd = 'a+b&c=d%20 "\\\u2028\u2029\u0085</script>\u00e9\u{1f600}\n\t\u0001';

againstServer(({ connect, newClient, transport, shared }) => {
  test('results', async t => {
    const client = await connect(t);
    assert.equal(await client.invoke('Echo', 'hello'), 'hello');
    assert.equal(await client.invoke('Echo', ''), '');
    assert.equal(await client.invoke('Add', 1, 2), 3);
    assert.equal(await client.invoke('Not', true), false);
    assert.equal(await client.invoke('Half', 3), 1.5);
    for (const value of [1, -1.5, 'x', true, [], {}, [1, [2, null]], { Name: 'x', nothing: null, deep: { list: [1] } }]) {
      assert.deepEqual(await client.invoke('EchoAny', value), value);
    }
  });

  test('no result, and null', async t => {
    const client = await connect(t);
    assert.equal(await client.invoke('Nothing'), undefined);
    assert.equal(await client.invoke('Null'), undefined);
    assert.equal(await client.invoke('EchoAny', null), undefined);
    assert.equal(await client.invoke('EchoMaybe', null), undefined);
    assert.equal(await client.invoke('EchoMaybe', 0), 0);
  });

  test('objects have their members as they are declared', async t => {
    const client = await connect(t);
    const ada = { Name: 'Ada', Age: 36, Address: { Street: 'St James\'s Square', Zip: 'SW1' }, Tags: ['countess', 'programmer'] };
    assert.deepEqual(await client.invoke('EchoPerson', ada), ada);
  });

  test('objects are read in any spelling, and without what is unknown', async t => {
    const client = await connect(t);
    const { Name, Age, Address } = await client.invoke('EchoPerson', { name: 'Ada', AGE: 36, address: { sTREET: 'here', zip: '1' }, unknown: [1, { a: 2 }] });
    assert.deepEqual({ Name, Age, Address }, { Name: 'Ada', Age: 36, Address: { Street: 'here', Zip: '1' } });
  });

  test('arrays and maps', async t => {
    const client = await connect(t);
    const renamed = await client.invoke('Rename', [{ Name: 'a', Age: 1 }, { Name: 'b', Age: 2 }], 'c');
    assert.deepEqual(renamed.map(({ Name, Age }) => [Name, Age]), [['c', 1], ['c', 2]]);
    assert.deepEqual(await client.invoke('Rename', [], 'c'), []);
    assert.equal(await client.invoke('Sum', [1, 2, 3]), 6);
    assert.deepEqual(await client.invoke('Counts', { a: 1, 'b c': 2 }), { a: 2, 'b c': 3 });
  });

  test('values of all types', async t => {
    const client = await connect(t);
    const values = {
      When: '2020-01-02T03:04:05Z', Id: '11112222-3333-4444-5555-666677778888', Bytes: 'AQL/', Number: 1, Big: 9007199254740992, Colour: 2,
      Span: '00:00:01.5000000', Null: null, Maybe: null, Money: 1.1, Flag: true,
    };
    assert.deepEqual(await client.invoke('MakeValues'), values); // Big ends in 3: JavaScript cannot read that
    const others = { ...values, Number: 2.5, Big: 3, Colour: 1, Span: '1.02:03:04', Maybe: 5, Null: 'x', Flag: false };
    assert.deepEqual(await client.invoke('EchoValues', others), others);
  });

  test('bytes, dates and ids', async t => {
    const client = await connect(t);
    for (const [method, value] of [['EchoBytes', 'AQL/'], ['EchoDate', '2020-01-02T03:04:05Z'], ['EchoGuid', '11112222-3333-4444-5555-666677778888']]) {
      assert.equal(await client.invoke(method, value), value);
    }
  });

  test('arguments that fit after all', async t => {
    const client = await connect(t);
    assert.equal(await client.invoke('Add', '3', 4), 7);
    assert.equal(await client.invoke('Echo', 5), '5');
    assert.equal(await client.invoke('EchoMaybe', '6'), 6);
  });

  test('arguments that do not fit', async t => {
    const client = await connect(t);
    await assert.rejects(client.invoke('Add', 1.6, 1), generic('Add'));
    await assert.rejects(client.invoke('Add', null, 1), generic('Add'));
    await assert.rejects(client.invoke('Add', 'x', 1), generic('Add'));
    await assert.rejects(client.invoke('Sum', 'x'), generic('Sum'));
    assert.equal(await client.invoke('Add', 1, 1), 2);
  });

  test('odd characters', async t => {
    const client = await connect(t);
    assert.equal(await client.invoke('Echo', odd), odd);
    await client.invoke('CallMe', odd);
    assert.equal(await client.got.next(), odd);
  });

  test('much in one argument', async t => {
    const client = await connect(t);
    const much = 'x'.repeat(60_000);
    assert.equal(await client.invoke('Echo', much), much);
    await client.invoke('CallMe', much);
    assert.equal(await client.got.next(), much);
  });

  test('methods in any spelling', async t => {
    const client = await connect(t);
    assert.equal(await client.invoke('echo', 'a'), 'a');
    assert.equal(await client.invoke('ECHO', 'b'), 'b');
    assert.equal(await client.invokeOn('TESTHUB', 'eChO', 'c'), 'c');
  });

  test('methods by the number of arguments', async t => {
    const client = await connect(t);
    assert.equal(await client.invoke('Overload'), '0');
    assert.equal(await client.invoke('Overload', 'x'), '1:x');
    assert.equal(await client.invoke('overload', 'x', 'y'), '2:xy');
    await assert.rejects(client.invoke('Overload', 'x', 'y', 'z'), generic('Overload'));
    await assert.rejects(client.invoke('Same', 1), generic('Same'));
    await assert.rejects(client.invoke('Same', 'x'), generic('Same'));
  });

  test('hubs and methods with names of their own', async t => {
    const client = await connect(t);
    assert.equal(await client.invokeOn('StrangeName', 'SayIt', 'x'), 'said x');
    assert.equal(await client.invokeOn('strangename', 'plain'), 'plain');
    await assert.rejects(client.invokeOn('StrangeName', 'Say', 'x'), generic('Say', 'strangename'));
  });

  test('methods of a hub that has no callbacks', async t => {
    const client = newClient(t);
    client.proxy();
    await client.start();
    assert.equal(client.connection.data, '[]');
    assert.equal(await client.invoke('Echo', 'x'), 'x');
    assert.equal(await client.invokeOn('otherHub', 'Echo', 'x'), 'other:x');
  });

  test('what is no method of a hub', async t => {
    const client = await connect(t);
    for (const name of ['Nope', 'OnConnected', 'OnReconnected', 'OnDisconnected', 'Dispose', 'ToString', 'GetHashCode', 'Clients', 'get_Clients', 'Context', 'Groups', '']) {
      await assert.rejects(client.invoke(name), generic(name), name);
    }
  });

  test('calls run side by side', async t => {
    const client = await connect(t);
    let over = false;
    const slow = client.invoke('Later', 'slow', 1500).then(value => { over = true; return value; });
    assert.equal(await client.invoke('Echo', 'quick'), 'quick');
    assert.equal(over, false);
    assert.equal(await slow, 'slow');
  });

  test('many calls at once', async t => {
    const client = await connect(t);
    assert.deepEqual(await Promise.all(upTo(100).map(i => client.invoke('Echo', `${i}`))), upTo(100).map(String));
  });

  test('each call has a hub value of its own', async t => {
    const client = await connect(t);
    const first = await client.invoke('Created');
    assert.ok(await client.invoke('Created') > first);
  });

  test('what a method sees of the request', async t => {
    const client = await connect(t, { qs: { tag: 'a b&c', user: 'ada' } });
    assert.equal(await client.invoke('Query', 'tag'), 'a b&c');
    assert.equal(await client.invoke('RequestQuery', 'tag'), 'a b&c');
    assert.equal(await client.invoke('RequestQuery', 'transport'), transport);
    assert.deepEqual(await client.invoke('WhoAmI'), { Id: client.id, User: 'ada' });
  });

  test('what a method sees of cookies', async t => {
    shared.page.cookies.setCookieSync('biscuit=sweet', shared.url);
    const client = await connect(t);
    assert.equal(await client.invoke('Cookie', 'biscuit'), 'sweet');
  });

  test('pings', async t => {
    const client = await connect(t, { qs: { tag: 'x' } });
    const ping = shared.page.jQuery.signalR.transports._logic.pingServer(client.connection);
    await within(new Promise((done, failed) => ping.then(done, failed)), 'the ping');
  });

  test('a path below one that ends like the scripts', async t => {
    const client = await connect(t, { path: '/signalr/js' });
    assert.equal(await client.invoke('Echo', 'x'), 'x');
  });
});
