// Plays a scenario on one server, and writes down what each client sees.
import { setTimeout as pass } from 'node:timers/promises';
import { JsonHubProtocol, MessageType } from '@microsoft/signalr';
import { Bell, RawClient, answer, call, cancel, completed, goodbye, invocation, item, streamed, unreadable, withUploads } from '../node/raw.mjs';

const protocol = () => new JsonHubProtocol();

/** How long the player waits for what should come when something has not come before: the scenario has failed then. */
const impatience = 300;

/**
 * Returns players, { id, events, ended, here } for each client and for a witness, who is there from the beginning to the end, and fates,
 * how the hub saw connections end. The player waits no longer than patience for anything. An event is a message with the number of the step in which it came.
 */
export async function play(scenario, url, patience = 5000) {
  const game = new Game(scenario, url, patience);
  try {
    await game.begin();
    for (const [i, step] of scenario.steps.entries()) await game.step(i, step);
    await game.settle();
    return {
      fates: game.fates,
      players: game.players.map(({ client: { id, ended }, events, here }) => ({ id, events: [...events], ended, here })),
    };
  } finally {
    // A connection that is only forgotten takes what others send to everybody, until they have to wait for it.
    await Promise.all(game.players.map(({ client }) => client.ended === undefined && client.leave().catch(() => {})));
    game.players.forEach(({ client }) => client.dispose());
  }
}

class Game {
  players = [];
  fates = {};
  /** How many times what should come has not come. */
  missed = 0;
  #scenario;
  #url;
  #step = -1;
  #syncs = 0;
  #bell = new Bell();
  #patience;

  constructor(scenario, url, patience) {
    this.#patience = patience;
    this.#scenario = scenario;
    this.#url = url;
  }

  async begin() {
    const { hub, tag, clients } = this.#scenario;
    const everybody = [...clients, { transport: 'WebSockets', user: `${tag}-witness`, answers: 'at once' }];
    for (const { transport, user, answers, pollPause } of everybody) {
      const client = new RawClient({ transport, protocol }, `${this.#url}${hub}?access_token=${user}`, this.#bell);
      client.pollPause = pollPause;
      const player = { client, events: [], answers, here: true };
      client.onMessage = message => this.#take(player, message);
      this.players.push(player);
      await client.start();
    }
    // The original knows of a client a little after it has shaken hands.
    return this.settle();
  }

  get witness() { return this.players.at(-1); }

  #take(player, message) {
    const { type, invocationId, arguments: args } = message;
    // Messages to everybody, of scenarios that run at the same time.
    if (type === MessageType.Invocation && !invocationId && message.target !== 'Number' && !String(args.at(-1)).startsWith(`${this.#scenario.tag}.`)) return;
    player.events.push({ ...message, step: this.#step });
    if (type === MessageType.Invocation && invocationId) this.#reply(player, message);
  }

  async #reply({ client, answers }, { invocationId, arguments: [question] }) {
    if (answers === 'late') await pass(10);
    await client.write(answers === 'with an error' ? completed(invocationId, 'no idea') : answer(invocationId, `to ${question}`));
  }

  /** Waits for something, and goes on without it if it does not come. */
  async #wait(condition) {
    await this.#bell.until(condition, 'what should come', this.missed ? impatience : this.#patience).catch(() => { this.missed++; });
  }

  #completed(player, id) {
    return player.events.some(({ type, invocationId }) => type === MessageType.Completion && invocationId === id);
  }

  async step(number, step) {
    this.#step = number;
    switch (step.kind) {
      case 'pause': return pass(step.ms);
      case 'cancel': return this.#cancel(step);
      case 'calls':
        await Promise.all(step.parts.map(part => this.#play(part)));
        return this.settle();
      case 'leave':
        await this.#leave(step);
        return this.settle();
    }
  }

  async #cancel({ who, id }) {
    const player = this.players[who];
    if (!player.here) return;
    await player.client.write(cancel(id));
    await this.#wait(() => this.#completed(player, id) || !this.#known(player, id));
  }

  /** Whether a stream has begun: a shorter scenario may have no call with that id. */
  #known(player, id) { return player.events.some(({ invocationId }) => invocationId === id); }

  async #play({ who, writes }) {
    const player = this.players[who];
    if (!player.here) return;
    const due = [];
    for (const { calls, pause } of writes) {
      const together = calls.map(one => this.#message(one));
      const uploads = calls.filter(one => one.upload);
      for (const { upload } of uploads.filter(one => one.upload.together)) together.push(...this.#upload(upload));
      await player.client.write(...together);
      for (const { upload } of uploads.filter(one => !one.upload.together)) for (const one of this.#upload(upload)) await player.client.write(one);
      due.push(...calls.filter(one => one.kind !== 'send' && !one.endless && one.cancelAfter === undefined).map(({ id }) => id));
      for (const { id, cancelAfter } of calls.filter(one => one.cancelAfter !== undefined)) {
        await this.#wait(() => player.events.filter(one => one.type === MessageType.StreamItem && one.invocationId === id).length >= cancelAfter);
        await player.client.write(cancel(id));
        due.push(id);
      }
      await pass(pause);
    }
    await this.#wait(() => player.client.ended !== undefined || due.every(id => this.#completed(player, id)));
  }

  #upload({ id, items, error }) { return [...items.map(value => item(id, value)), completed(id, error)]; }

  #message({ id, kind, method, args, upload }) {
    const own = value => (Array.isArray(value) ? value.map(own) : value?.id === undefined ? value : this.players[value.id].client.id);
    const message = { send: () => call(method, ...args.map(own)), invoke: () => invocation(id, method, ...args.map(own)), stream: () => streamed(id, method, ...args.map(own)) }[kind]();
    return upload ? withUploads(message, upload.id) : message;
  }

  async #leave({ who, how, calls, atOnce }) {
    const player = this.players[who];
    if (!player.here) return;
    player.here = false;
    const { client } = player;
    const { hub, tag } = this.#scenario;
    // The last call tells the witness that those before it have begun.
    const last = hub === '/bench' ? ['SendTo', this.witness.client.id, 1, `${tag}.${who}.last`] : ['ToClient', this.witness.client.id, `${tag}.${who}.last`];
    const messages = [...calls.map(one => this.#message(one)), call(...last)];
    const seen = () => this.witness.events.some(({ arguments: args }) => args?.at(-1) === `${tag}.${who}.last`);
    if (how === 'goodbye' || how === 'abort') messages.push(how === 'goodbye' ? goodbye : call('Abort'));
    if (atOnce) await client.write(...messages);
    else for (const message of messages) await client.write(message);
    if (how === 'garbage') {
      await this.#wait(seen);
      await client.writeBytes(unreadable({ binary: false }));
    } else if (how !== 'goodbye' && how !== 'abort') await client[how]();
    await this.#wait(seen);
    await this.#wait(() => client.ended !== undefined);
    if (hub !== '/testhub') return;
    const until = Date.now() + (this.missed ? impatience : this.#patience);
    while (!(this.fates[who] = await this.#ask(this.witness, 'Fate', client.id)) && Date.now() < until) await pass(5);
  }

  /** The result of a call that is not part of the scenario. */
  async #ask(player, method, ...args) {
    const id = `sync${++this.#syncs}`;
    await player.client.write(invocation(id, method, ...args));
    let found;
    await this.#wait(() => player.client.ended !== undefined || (found = player.events.find(({ type, invocationId }) => type === MessageType.Completion && invocationId === id)));
    return found?.result;
  }

  /** Lets everything arrive that is on its way: what was called before a call of the same client, then what was sent to a client before. */
  async settle() {
    for (let round = 0; round < 2; round++) {
      await Promise.all(this.players.filter(({ here, client }) => here && client.ended === undefined).map(player => this.#ask(player, 'Echo', 'x')));
    }
  }
}
