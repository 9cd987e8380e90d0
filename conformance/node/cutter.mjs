// A TCP proxy that cuts the WebSockets of the clients that connect to it.
import assert from 'node:assert/strict';
import net from 'node:net';
import { Subject } from '@microsoft/signalr';
import { until, upTo } from './client.mjs';

/**
 * A WebSocket is not cut before it has been open for this long, in milliseconds: the official client tries once to come back, and has gone
 * if that attempt fails.
 */
const settled = 80;

/** How a WebSocket is cut. Of what has not been read when a socket is reset, nothing is read any more. */
const cuts = {
  'by an end': ({ client, server }) => { client.destroy(); server.destroy(); },
  'by a reset': ({ client, server }) => { client.resetAndDestroy(); server.resetAndDestroy(); },
  // The server does not learn of it before the client comes back.
  'on the side of the client': ({ client }) => client.resetAndDestroy(),
};

export const waysToCut = Object.keys(cuts);

export class Cutter {
  /** How the server has answered each request for a WebSocket. */
  statuses = [];
  #refuses = false;
  #sockets = new Set();
  #server;

  constructor(port) {
    this.#server = net.createServer(client => this.#accept(client, port));
  }

  /** Listens, until the end of the test, and returns the address. */
  async listen(t) {
    await new Promise(done => this.#server.listen(0, '127.0.0.1', done));
    t.after(() => {
      this.#server.close();
      for (const { end } of this.#sockets) end();
    });
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  #accept(client, port) {
    const server = net.connect(port, '127.0.0.1');
    const end = () => {
      client.destroy();
      server.destroy();
      this.#sockets.delete(socket);
    };
    const socket = { client, server, end, opened: 0 };
    this.#sockets.add(socket);
    // Where the client alone is cut off, the server's side stays until the server ends it.
    client.on('error', end).on('close', () => { if (!socket.cut || server.destroyed) end(); });
    server.on('error', end).on('close', end);
    if (this.#refuses) return end();
    client.once('data', request => {
      if (!/^upgrade: websocket/im.test(request.toString('latin1'))) return;
      server.once('data', answer => {
        const status = Number(/^HTTP\/1\.1 (\d+)/.exec(answer.toString('latin1'))?.[1]);
        this.statuses.push(status);
        if (status === 101) socket.opened = Date.now();
      });
    });
    pass(socket, client, server);
    pass(socket, server, client);
  }

  /**
   * Cuts the WebSocket that there is when so many more bytes have come from 'client' or 'server', wherever in a message that is, and the other
   * side has been sent them. The client must have received something over it.
   */
  cutAfter(bytes, from, how) {
    const open = [...this.#sockets].filter(({ opened, cut }) => opened && !cut);
    if (open.length !== 1) throw new Error(`${open.length} WebSockets could be cut`);
    const [socket] = open;
    return new Promise(done => {
      socket.order = {
        from: socket[from], bytes, carryOut: () => {
          cuts[how](socket);
          done();
        },
      };
    });
  }

  /** Cuts a WebSocket as soon as there is one that may be. */
  cut() {
    return until(() => {
      const open = [...this.#sockets].filter(({ opened }) => opened && Date.now() - opened > settled);
      for (const socket of open) {
        socket.opened = 0;
        socket.client.destroy();
      }
      return open.length;
    }, 'a WebSocket to cut');
  }

  /** Cuts everything, and lets nobody connect until accept is called. */
  refuse() {
    this.#refuses = true;
    for (const { client } of this.#sockets) client.destroy();
  }

  accept() { this.#refuses = false; }
}

/** Passes on what comes from one side, up to where the WebSocket is to be cut. */
function pass(socket, from, to) {
  from.on('data', data => {
    const { order, cut } = socket;
    if (cut) return;
    if (order?.from === from && (order.bytes -= data.length) <= 0) {
      socket.cut = true;
      to.write(data.subarray(0, data.length + order.bytes), order.carryOut);
    } else if (!to.write(data)) {
      from.pause();
      to.once('drain', () => from.resume());
    }
  });
}

/** Numbers in both directions, with cuts that nothing is lost by, doubled or reordered. */
export async function exchange({ client, cutter }, count, cuts) {
  const numbers = client.callback('Number'), upload = new Subject();
  const { items, end } = client.stream('StreamEcho', upload);
  const burst = client.invoke('Burst', count);
  for (const i of upTo(count)) {
    upload.next(`${i}`);
    if (i % (count / cuts) === count / cuts - 1) {
      await until(() => items.size > i - 1.5 * (count / cuts), 'echoes');
      await cutter.cut();
    }
  }
  upload.complete();
  await Promise.all([burst, end()]);
  assert.deepEqual(await items.take(items.size), upTo(count).map(i => `echo:${i}`));
  assert.deepEqual(await numbers.take(count), upTo(count));
  assert.equal(numbers.size, 0);
  assert.equal(cutter.statuses.length, 1 + cuts);
}
