// A TCP proxy that ends the connections that go through it, anywhere in what the server sends.
import net from 'node:net';

/** How connections end. What has not been read when a socket is reset is lost. */
const cuts = {
  'by an end': ({ client, server }) => { client.destroy(); server.destroy(); },
  'by a reset': ({ client, server }) => { client.resetAndDestroy(); server.resetAndDestroy(); },
  // The server's side stays until the server ends it.
  'on the side of the client': ({ client }) => client.resetAndDestroy(),
};

export const waysToCut = Object.keys(cuts);

export class Cutter {
  /** How many connections have been cut. */
  count = 0;
  #sockets = new Set();
  #order;
  #server;

  constructor(port) {
    this.#server = net.createServer(client => this.#accept(client, port));
  }

  /** Listens, until the end of the test, and returns the address. */
  async listen(t) {
    await new Promise(done => this.#server.listen(0, '127.0.0.1', done));
    t.after(() => {
      this.#server.close();
      for (const { client, server } of this.#sockets) {
        client.destroy();
        server.destroy();
      }
    });
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  #accept(client, port) {
    const server = net.connect(port, '127.0.0.1');
    const socket = { client, server, cut: false };
    const over = () => { if (client.destroyed && server.destroyed) this.#sockets.delete(socket); };
    this.#sockets.add(socket);
    client.on('error', () => {}).on('close', () => {
      if (!socket.cut) server.destroy();
      over();
    });
    server.on('error', () => {}).on('close', () => {
      client.destroy();
      over();
    });
    client.on('data', data => { if (!socket.cut) server.write(data); });
    server.on('data', data => this.#pass(socket, data));
  }

  #pass(socket, data) {
    if (socket.cut) return; // and the server does not learn of it
    const order = this.#order;
    if (!order || (order.bytes -= data.length) > 0) {
      socket.client.write(data);
      return;
    }
    this.#order = undefined;
    const open = [...this.#sockets].filter(({ cut }) => !cut);
    for (const other of open) other.cut = true;
    this.count += open.length;
    socket.client.write(data.subarray(0, data.length + order.bytes), () => {
      for (const other of open) cuts[order.how](other);
      order.done();
    });
  }

  /** Cuts all connections when the server has sent so many more bytes, of which the client gets that many. */
  cutAfter(bytes, how) {
    return new Promise(done => { this.#order = { bytes, how, done }; });
  }
}
