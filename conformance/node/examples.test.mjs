// The programs of examples/, each as it is, under the official client.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { HubConnectionState } from '@microsoft/signalr';
import { build, freePort, reference, start } from '../server.mjs';
import { connect, failed, newClient, overEveryWay, until } from './client.mjs';
import { as, ask, inTime } from './tokens.mjs';

/** Runs the tests that define defines over each way to connect, against one process of an example. */
function example(name, env, define) {
  describe(name, { skip: reference && 'The original has no such program.' }, () => {
    let program, url;
    before(async () => {
      const port = await freePort();
      program = await start(build(`examples/${name}`), ['-addr', `127.0.0.1:${port}`], port, { stdio: 'ignore', env: { ...process.env, ...env } });
      url = `http://127.0.0.1:${port}`;
    });
    after(() => program?.stop());
    overEveryWay(way => describe('side by side', { concurrency: true }, () => define({
      way,
      get url() { return url; },
      newClient: (t, options) => newClient(t, way, `${url}/${name}`, options),
      connect: (t, options) => connect(t, way, `${url}/${name}`, options),
      /** A name that no other test has. */
      named: what => `${what} over ${way.name}`,
    })));
  });
}

const secret = 'a secret of the tests alone, which is long enough';

/** A token as the chat makes them, or one that is wrong in some way. */
function tokenOf(claims, key = secret, header = { alg: 'HS256', typ: 'JWT' }) {
  const now = Math.floor(Date.now() / 1000);
  const parts = [header, { iss: 'chat', aud: 'chat', exp: now + 3600, ...claims }].map(part => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
  return `${parts}.${header.alg === 'none' ? '' : createHmac('sha256', key).update(parts).digest('base64url')}`;
}

example('chat', { SECRET: secret }, chat => {
  const { way, named } = chat;
  const line = (from, text) => way.object({ from, text });
  const refused = way.options.skipNegotiation ? /WebSocket failed to connect/ : /Status code '401'/;

  async function login(user) {
    const answer = await ask('POST', `${chat.url}/login?user=${encodeURIComponent(user)}`);
    assert.equal(answer.status, 200);
    return answer.text();
  }

  /** A client that has logged in, and what it is told. */
  async function enter(t, user, room, options = {}) {
    const client = await chat.connect(t, { ...as(() => login(user)), ...options });
    const said = client.callback('said'), present = client.callback('present');
    if (room) await client.invoke('enter', room);
    return { client, said, present };
  }

  /** Waits until these users, and no others, are said to be in the room. What changes quickly may be told in one. */
  async function presence({ present }, room, ...users) {
    for (;;) {
      const [where, who] = await present.next();
      assert.equal(where, room);
      if (JSON.stringify(who.toSorted()) === JSON.stringify(users.toSorted())) return;
    }
  }

  test('what is said is heard in the room, and not in another', async t => {
    const room = named('said'), other = named('said elsewhere');
    const [alice, bob, carol] = [await enter(t, 'alice', room), await enter(t, 'bob', room), await enter(t, 'carol', other)];
    await alice.client.invoke('say', room, 'hello');
    await bob.client.invoke('say', room, 'hello, alice');
    await bob.client.invoke('say', other, 'hello, carol'); // who says something need not be there
    for (const { said } of [alice, bob]) assert.deepEqual(await said.take(2), [[room, line('alice', 'hello')], [room, line('bob', 'hello, alice')]]);
    assert.deepEqual(await carol.said.next(), [other, line('bob', 'hello, carol')]);
    await alice.client.invoke('leave', room);
    await bob.client.invoke('say', room, 'is she gone?');
    assert.deepEqual(await bob.said.next(), [room, line('bob', 'is she gone?')]);
    await alice.client.invoke('enter', room);
    await bob.client.invoke('say', room, 'she is back');
    assert.deepEqual(await alice.said.next(), [room, line('bob', 'she is back')]);
    assert.deepEqual([alice, carol].map(({ said }) => said.size), [0, 0]);
  });

  test('a room is told who is present, without who has gone', async t => {
    const room = named('present');
    const alice = await enter(t, 'alice', room);
    await presence(alice, room, 'alice');
    const bob = await enter(t, 'bob', room);
    await presence(alice, room, 'alice', 'bob');
    await presence(bob, room, 'alice', 'bob');
    const carol = await enter(t, 'carol', room);
    await presence(bob, room, 'alice', 'bob', 'carol');
    await bob.client.stop();
    await presence(carol, room, 'alice', 'carol');
    await alice.client.invoke('leave', room);
    await presence(carol, room, 'carol');
  });

  test('a user with two connections is present until the second one has gone', async t => {
    const room = named('twice');
    const alice = await enter(t, 'alice', room), [first, second] = [await enter(t, 'bob', room), await enter(t, 'bob', room)], carol = await enter(t, 'carol', room);
    await presence(alice, room, 'alice', 'bob', 'carol');
    await first.client.stop();
    await carol.client.stop(); // later, so bob would have been out of the room before
    await presence(alice, room, 'alice', 'bob');
    await second.client.stop();
    await presence(alice, room, 'alice');
  });

  test('ada kicks all connections of a user, who does not reconnect', async t => {
    const room = named('kick'), victim = named('bob');
    const ada = await enter(t, 'ada', room), bobs = [await enter(t, victim, room, { retryDelay: 10 }), await enter(t, victim, room, { retryDelay: 10 })];
    await presence(ada, room, 'ada', victim);
    await ada.client.invoke('kick', victim, 'Be nice.');
    for (const { client } of bobs) {
      assert.equal((await client.closes.next()).message, 'Server returned an error on close: Be nice.');
      assert.equal(client.connection.state, HubConnectionState.Disconnected);
      assert.equal(client.reconnecting.size, 0);
    }
    await presence(ada, room, 'ada');
    const back = await enter(t, victim, room);
    await back.client.invoke('say', room, 'sorry');
    assert.deepEqual(await ada.said.next(), [room, line(victim, 'sorry')]);
  });

  test('nobody else kicks', async t => {
    const ada = await enter(t, 'ada');
    for (const user of ['bob', 'Ada']) {
      const { client } = await enter(t, user);
      await assert.rejects(client.invoke('Kick', 'ada', 'no'), { message: `Failed to invoke 'Kick' because user is unauthorized` });
    }
    await ada.client.invoke('say', named('nobody else'), 'here I am');
    assert.equal(ada.client.closes.size, 0);
  });

  test('who calls too often is told to slow down, and nobody else is', async t => {
    const room = named('slow'), [hasty, other] = [await enter(t, 'alice', room), await enter(t, 'alice', room)];
    const tooMuch = failed('Say', ' HubException: Slow down.').message;
    const say = text => hasty.client.invoke('say', room, text).then(() => 'said', ({ message }) => message);
    const texts = Array.from({ length: 100 }, (_, i) => `${i}`), results = await Promise.all(texts.map(say));
    assert.deepEqual([...new Set(results)], ['said', tooMuch]); // the first ones are said
    await other.client.invoke('say', room, 'goes on');
    const heard = [...texts.filter((_, i) => results[i] === 'said'), 'goes on'];
    assert.deepEqual(await other.said.take(heard.length), heard.map(text => [room, line('alice', text)]));
    await until(async () => (await say('the end')) === 'said', 'an end of the limit');
    assert.deepEqual(await other.said.next(), [room, line('alice', 'the end')]);
  });

  test('a token that is not valid opens nothing', async t => {
    const past = Math.floor(Date.now() / 1000) - 60;
    for (const [what, token] of [
      ['none', ''], ['no token', 'alice'], ['expired', tokenOf({ sub: 'ada', exp: past })], ['without an end', tokenOf({ sub: 'ada', exp: undefined })],
      ['of another secret', tokenOf({ sub: 'ada' }, `${secret}!`)], ['of another issuer', tokenOf({ sub: 'ada', iss: 'else' })],
      ['for another audience', tokenOf({ sub: 'ada', aud: 'else' })], ['not signed', tokenOf({ sub: 'ada' }, secret, { alg: 'none' })],
      ['of another algorithm', tokenOf({ sub: 'ada' }, secret, { alg: 'HS512' })], ['not valid yet', tokenOf({ sub: 'ada', nbf: past + 3600 })],
    ]) await assert.rejects(chat.newClient(t, as(token)).start(), refused, what);
  });

  test('a token that expires closes the connection, and the next one opens another', async t => {
    const leeway = 30;
    const alice = await inTime(async expires => {
      let token = () => tokenOf({ sub: 'alice', exp: Math.ceil(expires / 1000) - leeway });
      const client = chat.newClient(t, { ...as(() => token()), retryDelay: 50 });
      client.connection.onreconnecting(() => { token = () => login('alice'); });
      await client.start();
      return client;
    });
    await alice.reconnecting.next();
    await alice.reconnected.next();
    await alice.invoke('enter', named('expired'));
    assert.equal(alice.closes.size, 0);
  });
});

example('orders', {}, orders => {
  const { way, named } = orders;
  const order = (symbol, side, price, amount) => way.object({ symbol, buy: side === 'buy', price, amount });
  const trade = (symbol, price, amount) => way.object({ symbol, price, amount });

  async function trader(t) {
    const client = await orders.connect(t);
    return {
      client, filled: client.callback('filled'), traded: client.callback('traded'),
      place: (...what) => client.invoke('place', order(...what)), watch: symbol => client.invoke('watch', symbol),
    };
  }

  const traders = (t, count) => Promise.all(Array.from({ length: count }, () => trader(t)));

  test('orders match, and owners and watchers are told', async t => {
    const symbol = named('ACME'), [seller, buyer, watcher] = await traders(t, 3);
    assert.deepEqual(await watcher.watch(symbol), []);
    assert.equal(await seller.place(symbol, 'sell', 10, 5), 5);
    assert.equal(await buyer.place(symbol, 'buy', 9, 1), 1); // too little
    assert.equal(await buyer.place(symbol, 'buy', 12, 3), 0);
    for (const { filled } of [seller, buyer]) assert.deepEqual(await filled.next(), trade(symbol, 10, 3));
    assert.deepEqual(await watcher.traded.next(), trade(symbol, 10, 3));
    assert.deepEqual(await watcher.watch(symbol), [order(symbol, 'sell', 10, 2), order(symbol, 'buy', 9, 1)]);
    assert.equal(await buyer.place(symbol, 'buy', 10, 4), 2);
    assert.deepEqual(await watcher.traded.next(), trade(symbol, 10, 2));
    assert.deepEqual(await seller.watch(symbol), [order(symbol, 'buy', 9, 1), order(symbol, 'buy', 10, 2)]);
    assert.deepEqual(await seller.filled.next(), trade(symbol, 10, 2));
    assert.deepEqual([seller.traded.size, buyer.traded.size, watcher.filled.size], [0, 0, 0]);
  });

  test('an order can match several', async t => {
    const symbol = named('SEVERAL'), [seller, buyer] = await traders(t, 2);
    await buyer.watch(symbol);
    for (const price of [10, 11, 30]) assert.equal(await seller.place(symbol, 'sell', price, 1), 1);
    assert.equal(await buyer.place(symbol, 'buy', 20, 3), 1);
    for (const inbox of [seller.filled, buyer.filled, buyer.traded]) assert.deepEqual(await inbox.take(2), [trade(symbol, 10, 1), trade(symbol, 11, 1)]);
    assert.deepEqual(await buyer.watch(symbol), [order(symbol, 'sell', 30, 1), order(symbol, 'buy', 20, 1)]);
  });

  test('who watches another symbol is told nothing', async t => {
    const symbol = named('WATCHED'), [one, other] = await traders(t, 2);
    await other.watch(named('OTHER'));
    await one.watch(symbol);
    await one.place(symbol, 'sell', 1, 1);
    await one.place(symbol, 'buy', 1, 1);
    assert.deepEqual(await one.traded.next(), trade(symbol, 1, 1));
    assert.deepEqual(await one.filled.next(), trade(symbol, 1, 1)); // once, though it owns both
    assert.deepEqual(await other.watch(symbol), []);
    assert.deepEqual([one.filled.size, other.traded.size, other.filled.size], [0, 0, 0]);
  });

  test('an order lacks something', async t => {
    const symbol = named('BAD'), { client, place, watch } = await trader(t);
    const bad = failed('place', ' HubException: An order has a symbol, a price and an amount.');
    for (const what of [['', 'buy', 1, 1], [symbol, 'buy', 0, 1], [symbol, 'sell', -1, 1], [symbol, 'sell', 1, 0]]) await assert.rejects(place(...what), bad);
    await assert.rejects(client.invoke('place', {}), bad);
    for (const args of [[], [1], [order(symbol, 'buy', 1, 1), 2]]) {
      await assert.rejects(client.invoke('place', ...args), { message: `Failed to invoke 'place' due to an error on the server.` });
    }
    await assert.rejects(client.invoke('cancel', symbol), { message: `Failed to invoke 'cancel' due to an error on the server. HubException: Method does not exist.` });
    assert.deepEqual(await watch(symbol), []);
  });

  test('the orders of who has gone are removed', async t => {
    const symbol = named('GONE'), [seller, other, watcher] = await traders(t, 3);
    await seller.place(symbol, 'sell', 10, 5);
    await other.place(symbol, 'sell', 11, 5);
    assert.equal((await watcher.watch(symbol)).length, 2);
    await seller.client.stop();
    await until(async () => (await watcher.watch(symbol)).length === 1, 'the end of the orders');
    assert.deepEqual(await watcher.watch(symbol), [order(symbol, 'sell', 11, 5)]);
  });

  test('calls of many at once are handled one after the other', async t => {
    const symbol = named('MANY'), many = await traders(t, 6), watcher = await trader(t);
    await watcher.watch(symbol);
    await Promise.all(many.flatMap(({ place }, i) => Array.from({ length: 10 }, () => place(symbol, i % 2 ? 'buy' : 'sell', 5, 1))));
    assert.deepEqual(await watcher.watch(symbol), []);
    assert.deepEqual(await watcher.traded.take(30), Array(30).fill(trade(symbol, 5, 1)));
  });
});

example('game', {}, game => {
  const { way, named } = game;

  /** A player, and a way to wait for a state that is as wanted. */
  async function player(t) {
    const client = await game.connect(t);
    const states = client.callback('state');
    const state = async wanted => {
      for (;;) {
        const [n, balls] = await states.next();
        if (wanted(balls, n)) return { n, balls };
      }
    };
    return { client, id: client.connection.connectionId, states, state, enter: room => client.invoke('enter', room), leave: room => client.invoke('leave', room) };
  }

  const players = (t, count) => Promise.all(Array.from({ length: count }, () => player(t)));
  const ball = (x, y, dx, dy) => (way.binary ? { X: x, Y: y, DX: dx, DY: dy } : { x, y, dx, dy });
  const numbers = ball => Object.values(ball);
  const count = wanted => balls => Object.keys(balls).length === wanted;

  test('who enters is told the state of the room, again and again', async t => {
    const one = await player(t), room = named('state');
    await one.enter(room);
    const { balls, n: first } = await one.state(count(1));
    assert.deepEqual(Object.values(balls), [ball(0, 0, 0, 0)]);
    if (one.id) assert.deepEqual(Object.keys(balls), [one.id]);
    for (let n = first, i = 0; i < 5; i++) {
      const [next] = await one.states.next();
      assert.ok(next > n, `${next} behind ${n}`);
      n = next;
    }
  });

  test('steering moves the ball of the caller', async t => {
    const [one, other] = await players(t, 2), room = named('steer');
    await one.enter(room);
    const [id] = Object.keys((await one.state(count(1))).balls);
    await other.enter(room);
    await one.client.invoke('steer', room, 20, -0.5);
    for (const { state } of [one, other]) {
      const { balls } = await state(balls => balls[id] && numbers(balls[id])[0] > 2);
      assert.deepEqual(numbers(balls[id]).slice(2), [20, -0.5]);
      assert.ok(numbers(balls[id])[1] < 0);
      for (const [key, value] of Object.entries(balls)) if (key !== id) assert.deepEqual(value, ball(0, 0, 0, 0));
    }
    await one.client.invoke('steer', room, 0, 0);
    const stopped = (await one.state(balls => numbers(balls[id])[2] === 0)).balls[id];
    const [, later] = await one.states.next();
    assert.deepEqual(later[id], stopped);
  });

  test('two rooms are apart', async t => {
    const pair = await players(t, 2), rooms = [named('red'), named('blue')];
    for (const [i, { enter }] of pair.entries()) await enter(rooms[i]);
    const ids = await Promise.all(pair.map(async ({ state }) => Object.keys((await state(count(1))).balls)[0]));
    assert.notEqual(ids[0], ids[1]);
    await pair[0].client.invoke('steer', rooms[1], 1, 1); // who is not there steers nothing
    await pair[1].client.invoke('steer', rooms[1], 0, 3);
    assert.deepEqual(numbers((await pair[1].state(balls => numbers(balls[ids[1]])[3] === 3)).balls[ids[1]]).slice(2), [0, 3]);
    for (const [n, balls] of await pair[0].states.take(3)) assert.deepEqual([n > 0, balls], [true, { [ids[0]]: ball(0, 0, 0, 0) }]);
  });

  test('who leaves, or is disconnected, is not in the room any more', async t => {
    const [one, other, third] = await players(t, 3), room = named('leave');
    for (const { enter } of [one, other, third]) await enter(room);
    await one.state(count(3));
    await other.leave(room);
    await one.state(count(2));
    await third.client.stop();
    await one.state(count(1));
    await other.enter(room);
    await one.state(count(2));
  });

  test('a room ends with its last player, and another one begins', async t => {
    const one = await player(t), room = named('anew');
    await one.enter(room);
    // Where the machine is slow, several states may have been there before the first one that is seen.
    await until(async () => {
      const { n: last } = await one.state((balls, n) => n > 5);
      await one.leave(room);
      await one.states.take(one.states.size);
      await one.enter(room);
      const { n: first } = await one.state(count(1));
      return first < last;
    }, 'a room that begins');
  });

  test('nobody is in a room that does not exist', async t => {
    const { client } = await player(t);
    await assert.rejects(client.invoke('steer', named('nowhere'), 1, 1), failed('Steer', ' HubException: There is no such room.'));
    await client.invoke('leave', named('nowhere'));
  });
});
