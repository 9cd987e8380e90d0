// What a method does to its caller beside the result: callbacks, state and progress.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { againstServer, generic, upTo } from './client.mjs';

againstServer(({ connect, newClient, transport }) => {
  test('a callback', async t => {
    const client = await connect(t);
    await client.invoke('CallMe', 'hello');
    assert.equal(await client.got.next(), 'hello');
  });

  test('callbacks in any spelling', async t => {
    const client = newClient(t);
    const got = client.on('GOT', 'TESTHUB');
    await client.start();
    await client.invoke('CallMe', 'hello');
    assert.equal(await got.next(), 'hello');
  });

  test('a callback with several arguments', async t => {
    const client = newClient(t);
    const gotPerson = client.on('gotPerson');
    await client.start();
    const ada = { Name: 'Ada', Age: 36, Address: { Street: 'here', Zip: '1' }, Tags: ['x'] };
    await client.invoke('CallPerson', ada);
    assert.deepEqual(await gotPerson.next(), [ada, 1, 'two']);
  });

  test('a callback with an odd name', async t => {
    const client = newClient(t);
    const name = '!!!|\\CallMeBack,,,!!!';
    const inbox = client.on(name);
    await client.start();
    await client.invoke('CallNamed', name, [1, 'two', null, { a: [] }]);
    assert.deepEqual(await inbox.next(), [1, 'two', null, { a: [] }]);
    await client.invoke('CallNamed', name, []);
    assert.deepEqual(await inbox.next(), []);
  });

  test('a callback that nobody has registered', async t => {
    const client = await connect(t);
    await client.invoke('CallNamed', 'unheard', [1]);
    await client.invoke('CallMe', 'x');
    assert.equal(await client.got.next(), 'x');
  });

  test('many callbacks come in order', async t => {
    const client = await connect(t);
    await client.invoke('CallMany', 500);
    assert.deepEqual(await client.got.take(500), upTo(500));
  });

  test('a callback and a result', async t => {
    const client = await connect(t);
    await client.invoke('CallThenReturn', 'x');
    await client.got.next();
  });

  test('a call in a callback', async t => {
    const client = newClient(t);
    const answered = new Promise((done, failed) => client.proxy().on('got', text => client.invoke('Echo', `${text} again`).then(done, failed)));
    await client.start();
    await client.invoke('CallMe', 'x');
    assert.equal(await answered, 'x again');
  });

  test('the callback of another hub', async t => {
    const client = newClient(t);
    const got = client.on('got', 'otherHub'), mine = client.on('got');
    await client.start();
    await client.invoke('CallOtherHub', 'x');
    assert.equal(await got.next(), 'x');
    await client.invoke('CallMe', 'the end');
    assert.deepEqual(await mine.upTo('the end'), []);
  });

  test('typed callbacks', async t => {
    const client = newClient(t);
    const notify = client.on('notify', 'typedHub'), done = client.on('done', 'typedHub');
    await client.start();
    await client.invokeOn('typedHub', 'Run', 'x');
    assert.deepEqual(await notify.next(), ['x', 1]);
    assert.deepEqual(await done.next(), []);
    assert.equal(client.proxy('typedHub').state.typed, 'yes');
  });

  test('state that the client has set', async t => {
    const client = await connect(t);
    client.state = { userName: 'ada', computer: 'engine', deep: { list: [1] } };
    assert.equal(await client.invoke('ReadState', 'userName'), 'ada');
    assert.equal(await client.invoke('ReadCaller'), 'ada@engine');
    assert.deepEqual(client.state, { userName: 'ada', computer: 'engine', deep: { list: [1] } });
  });

  test('state that a method sets', async t => {
    const client = await connect(t);
    await client.invoke('WriteState', 'MixedCase', 'red');
    assert.deepEqual(client.state, { MixedCase: 'red' });
    assert.equal(await client.invoke('ReadState', 'MixedCase'), 'red');
    await client.invoke('WriteState', 'MixedCase', 'blue');
    assert.deepEqual(client.state, { MixedCase: 'blue' });
  });

  test('state that goes to and fro', async t => {
    const client = await connect(t);
    client.state = { counter: 4, other: 'kept' };
    assert.equal(await client.invoke('CountState'), 5);
    assert.deepEqual(client.state, { counter: 5, other: 'kept' });
    assert.equal(await client.invoke('CountState'), 6);
    assert.deepEqual(client.state, { counter: 6, other: 'kept' });
  });

  test('state is not kept by the server', async t => {
    const client = await connect(t);
    client.state = { counter: 4 };
    await client.invoke('CountState');
    client.state = { counter: 10 };
    assert.equal(await client.invoke('CountState'), 11);
  });

  test('state comes with a callback', async t => {
    const client = newClient(t);
    const seen = new Promise(done => client.proxy().on('got', () => done(client.proxy().state.mark)));
    await client.start();
    await client.invoke('StateThenCall');
    assert.equal(await seen, 'set');
  });

  test('state that is too long', async t => {
    const client = await connect(t);
    client.state = { long: 'x'.repeat(5000) };
    const call = client.proxy().invoke('Echo', 'x');
    if (transport !== 'webSockets') await assert.rejects(new Promise((done, failed) => call.then(done, failed)), /Send failed/);
    client.state = { long: 'x'.repeat(4000) };
    assert.equal(await client.invoke('Echo', 'y'), 'y');
    assert.equal(call.state(), transport === 'webSockets' ? 'pending' : 'rejected'); // over a WebSocket nobody answers
  });

  test('progress comes in order', async t => {
    const client = await connect(t);
    const { result, reports } = await client.invokeWithProgress('Progress', 50);
    assert.equal(result, 'done');
    const sent = () => client.received.flatMap(({ P }) => (P ? [P.D] : []));
    await client.invoke('CallMe', 'the end'); // behind all reports
    await client.got.upTo('the end');
    assert.deepEqual(sent(), upTo(50));
    // Over a WebSocket the result is behind the reports. Else it comes on another way, and jQuery drops what comes after it.
    assert.deepEqual(reports, upTo(transport === 'webSockets' ? 50 : reports.length));
  });

  test('progress with objects', async t => {
    const client = await connect(t);
    const { result, reports } = await client.invokeWithProgress('ProgressTwo', 'laundry');
    assert.equal(result, 'laundry done');
    assert.deepEqual(reports, [{ Job: 'laundry', Percent: 100 }]);
  });

  test('progress of calls that run at once', async t => {
    const client = await connect(t);
    const all = await Promise.all(['a', 'b', 'c'].map(job => client.invokeWithProgress('ProgressTwo', job)));
    assert.deepEqual(all, ['a', 'b', 'c'].map(job => ({ result: `${job} done`, reports: [{ Job: job, Percent: 100 }] })));
  });

  test('modules around calls', async t => {
    const client = newClient(t);
    const kept = client.on('kept', 'pipeHub'), dropped = client.on('dropped', 'pipeHub');
    await client.start();
    assert.equal(await client.invokeOn('pipeHub', 'Vetoed'), undefined);
    assert.equal(await client.invokeOn('pipeHub', 'Decorated'), '<plain>');
    assert.equal(await client.invokeOn('pipeHub', 'Swallowed'), 42);
    await assert.rejects(client.invokeOn('pipeHub', 'Replaced'), { message: 'replaced', source: 'HubException' });
    await assert.rejects(client.invokeOn('pipeHub', 'Nope'), generic('Nope', 'pipehub'));
    await client.invokeOn('pipeHub', 'Outgoing');
    assert.equal(await kept.next(), 'yes');
    assert.equal(dropped.size, 0);
  });
});
