// Makes a scenario out of a seed: who connects, what they call in which step, how they go. It is plain data, the same for every server.
// A connection's id is written { id: n }, n being the number of a client; each server's own stands for it when the scenario is played.
import { Random } from './random.mjs';

const transports = ['WebSockets', 'ServerSentEvents', 'LongPolling'];

/** How a client goes. "drop" is the end of the TCP connection; of a client that polls, no server notices that for 15 seconds. */
const ways = { WebSockets: ['stop', 'leave', 'goodbye', 'drop'], ServerSentEvents: ['stop', 'leave', 'goodbye', 'drop'], LongPolling: ['stop', 'leave', 'goodbye'] };

export function newScenario(seed) {
  const random = new Random(seed);
  const hub = random.chance(0.6) ? '/testhub' : '/bench';
  const tag = `s${seed}`;
  const scenario = { seed, hub, tag, clients: [], steps: [] };
  const count = random.int(1, 4);
  for (let i = 0; i < count; i++) {
    const transport = random.one(transports);
    scenario.clients.push({
      transport,
      user: `${tag}-${random.one(['ada', 'bob'])}`,
      answers: random.one(['at once', 'at once', 'late', 'with an error']),
      pollPause: transport === 'LongPolling' && random.chance(0.3) ? random.int(1, 60) : 0,
    });
  }
  const make = new Steps(random, scenario);
  const steps = random.int(2, 8);
  for (let i = 0; i < steps && make.present.length; i++) scenario.steps.push(make.step());
  return scenario;
}

class Steps {
  /** Clients that are there, and endless streams that run: [client, id]. */
  present;
  endless = [];
  #random;
  #scenario;
  #ids = 0;

  constructor(random, scenario) {
    this.#random = random;
    this.#scenario = scenario;
    this.present = scenario.clients.map((_, i) => i);
  }

  step() {
    const random = this.#random;
    const kind = random.int(1, 10);
    if (kind === 1) return { kind: 'pause', ms: random.int(1, 80) };
    if (kind === 2 && this.endless.length) {
      const [who, id] = this.endless.splice(random.int(0, this.endless.length - 1), 1)[0];
      return { kind: 'cancel', who, id };
    }
    if (kind <= 4) return this.#leave();
    // Who is in which group when something is sent to it is certain only where one client acts at a time.
    const alone = random.chance(0.6);
    const actors = alone ? [random.one(this.present)] : random.some(this.present);
    return { kind: 'calls', parts: actors.map(who => ({ who, writes: this.#writes(who, alone && actors.length === 1) })) };
  }

  #leave() {
    const random = this.#random;
    const who = this.present.splice(random.int(0, this.present.length - 1), 1)[0];
    this.endless = this.endless.filter(([client]) => client !== who);
    const how = random.one([...ways[this.#scenario.clients[who].transport], ...(this.#scenario.hub === '/testhub' ? ['abort'] : []), 'garbage']);
    // What waits when a message cannot be read is dropped by Troupe, and has been executed by the original: nothing waits then.
    const calls = how === 'garbage' ? [] : Array.from({ length: random.int(0, 12) }, () => this.#call(who, true, true));
    return { kind: 'leave', who, how, calls, atOnce: random.chance(0.5) };
  }

  #writes(who, alone) {
    const random = this.#random;
    return Array.from({ length: random.int(1, 3) }, () => ({
      calls: Array.from({ length: random.one([1, 2, 3, 5, 15]) }, () => this.#call(who, alone, false)),
      pause: random.chance(0.3) ? random.int(1, 15) : 0,
    }));
  }

  #call(who, alone, leaving) {
    const random = this.#random;
    const id = `${this.#scenario.tag}.${who}.${++this.#ids}`;
    const made = (this.#scenario.hub === '/bench' ? this.#bench : this.#test).call(this, who, id, alone, leaving);
    return { id, kind: random.chance(0.5) ? 'invoke' : 'send', ...made };
  }

  #anybody() { return { id: this.#random.int(0, this.#scenario.clients.length - 1) }; }
  #group() { return `${this.#scenario.tag}-${this.#random.one(['red', 'green'])}`; }

  #bench(who, id, alone) {
    const random = this.#random;
    return random.one([
      () => ({ method: 'Echo', args: [id], kind: 'invoke' }),
      () => ({ method: 'Slow', args: [random.int(0, 30)] }),
      () => ({ method: 'Broadcast', args: [1, id] }),
      () => ({ method: 'SendTo', args: [this.#anybody(), 1, id] }),
      () => ({ method: 'SendGroup', args: [this.#group(), 1, id] }),
      ...(alone ? [() => ({ method: 'Join', args: [this.#group()] }), () => ({ method: 'SendGroup', args: [this.#group(), 1, id] })] : []),
      () => ({ method: 'Missing', args: [id], kind: 'invoke' }),
    ])();
  }

  #test(who, id, alone, leaving) {
    const random = this.#random;
    const some = () => random.some(this.#scenario.clients).map(client => ({ id: this.#scenario.clients.indexOf(client) }));
    const user = () => `${this.#scenario.tag}-${random.one(['ada', 'bob', 'nobody'])}`;
    const sends = [
      () => ({ method: 'ToAll', args: [id] }),
      () => ({ method: 'ToCaller', args: [id] }),
      () => ({ method: 'InvokeWithString', args: [id] }),
      () => ({ method: 'ToOthers', args: [id] }),
      () => ({ method: 'ToClient', args: [this.#anybody(), id] }),
      () => ({ method: 'ToClients', args: [some(), id] }),
      () => ({ method: 'ToAllExcept', args: [some(), id] }),
      () => ({ method: 'ToUser', args: [user(), id] }),
      () => ({ method: 'ToUsers', args: [[user()], id] }),
      () => ({ method: 'ToGroup', args: [this.#group(), id] }),
      () => ({ method: 'ToGroups', args: [[this.#group()], id] }),
      () => ({ method: 'ToGroupExcept', args: [this.#group(), some(), id] }),
      () => ({ method: 'ToOthersInGroup', args: [this.#group(), id] }),
    ];
    const members = alone ? [() => ({ method: 'Join', args: [this.#group()] }), () => ({ method: 'Leave', args: [this.#group()] })] : [];
    const calls = [
      () => ({ method: 'Echo', args: [id], kind: 'invoke' }),
      () => ({ method: 'Slow', args: [random.int(0, 60)] }),
      () => ({ method: random.one(['Nothing', 'Null', 'Service', 'renamed', 'Id', 'UserId', 'GetActiveTransportName']), args: [], kind: 'invoke' }),
      () => ({ method: random.one(['ThrowException', 'ThrowHubException', 'Missing']), args: [id], kind: 'invoke' }),
      () => ({ method: 'Add', args: [random.int(-9, 9), random.int(-9, 9)], kind: 'invoke' }),
      () => ({ method: random.one(['Echo', 'Add', 'ToAll']), args: [], kind: 'invoke' }), // too few arguments
    ];
    if (leaving) return random.one([...sends, ...members, calls[0], calls[1]])();
    const others = [
      () => ({ method: 'Burst', args: [random.int(1, 50)], kind: 'invoke' }),
      () => ({ method: 'AskClient', args: [{ id: random.one(this.present) }, id], kind: 'invoke' }),
      () => ({ method: 'AskCaller', args: [id], kind: 'invoke' }),
      () => ({ method: random.one(['Stream', 'EmptyStream']), args: [], kind: 'stream' }),
      () => ({ method: 'StreamThrowException', args: [id], kind: 'stream' }),
      () => ({ method: 'Counter', args: [random.int(0, 30), random.one([0, 0, 1])], kind: 'stream' }),
      () => ({ method: 'Counter', args: [100_000, 2], kind: 'stream', cancelAfter: random.int(0, 3) }),
      () => {
        this.endless.push([who, id]);
        return { method: 'InfiniteStream', args: [], kind: 'stream', endless: true };
      },
      () => this.#upload(id, random.one(['UploadStream', 'StreamEcho']), [], i => `${i};`),
      () => this.#upload(id, 'UploadSum', [random.int(0, 9)], i => i),
      () => ({ method: 'Echo', args: [], kind: 'stream' }), // no stream
      () => ({ method: 'Counter', args: [1, 0], kind: 'invoke' }), // a stream
    ];
    return random.one([...sends, ...members, ...members, ...calls, ...others])();
  }

  #upload(id, method, args, value) {
    const random = this.#random;
    const upload = { id: `${id}-up`, items: Array.from({ length: random.int(0, 25) }, (_, i) => value(i)), together: random.chance(0.5) };
    if (random.chance(0.2)) upload.error = 'gives up';
    return { method, args, kind: method === 'StreamEcho' ? 'stream' : 'invoke', upload };
  }
}
