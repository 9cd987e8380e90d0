// A TCP proxy that cuts the WebSockets of the clients that connect to it.
import net from 'node:net';
import { until } from './client.mjs';

/**
 * A WebSocket is not cut before it has been open for this long, in milliseconds: the official client tries once to come back, and has gone
 * if that attempt fails.
 */
const settled = 80;

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
      for (const { client } of this.#sockets) client.destroy();
    });
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  #accept(client, port) {
    const server = net.connect(port, '127.0.0.1');
    const socket = { client, opened: 0 };
    this.#sockets.add(socket);
    const end = () => {
      client.destroy();
      server.destroy();
      this.#sockets.delete(socket);
    };
    for (const one of [client, server]) one.on('error', end).on('close', end);
    if (this.#refuses) return end();
    client.once('data', request => {
      if (!/^upgrade: websocket/im.test(request.toString('latin1'))) return;
      server.once('data', answer => {
        const status = Number(/^HTTP\/1\.1 (\d+)/.exec(answer.toString('latin1'))?.[1]);
        this.statuses.push(status);
        if (status === 101) socket.opened = Date.now();
      });
    });
    client.pipe(server);
    server.pipe(client);
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
