// A load balancer without sticky sessions: each request of a client, and each WebSocket, goes to the next node. There is one for each client.
import http from 'node:http';
import net from 'node:net';

export class RoundRobin {
  /** Each request: the node that has got it, its method and its URL. */
  requests = [];
  #nodes;
  #turn;
  #leftOut = new Set();
  #agent = new http.Agent({ keepAlive: true });
  #sockets = new Set();
  #server = http.createServer((request, response) => this.#request(request, response));

  /** first is the number of the node that gets the first request. */
  constructor(nodes, first = 0) {
    this.#nodes = [...nodes];
    this.#turn = first - 1 + nodes.length;
    this.#server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    this.#server.on('connection', socket => this.#track(socket));
  }

  /** Listens, and returns the address. */
  async listen() {
    await new Promise(done => this.#server.listen(0, '127.0.0.1', done));
    return `http://127.0.0.1:${this.port}`;
  }

  close() {
    this.#server.close();
    this.#agent.destroy();
    this.cut();
  }

  get port() { return this.#server.address().port; }

  /** Ends every connection. */
  cut() {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Gives no more requests to a node. */
  leaveOut(node) { this.#leftOut.add(node.port); }

  #take({ method, url }) {
    let node;
    do node = this.#nodes[++this.#turn % this.#nodes.length]; while (this.#leftOut.has(node.port));
    this.requests.push({ node, method, url });
    return node;
  }

  #track(socket) {
    this.#sockets.add(socket);
    socket.setNoDelay().on('error', () => {}).on('close', () => this.#sockets.delete(socket));
    return socket;
  }

  #request(request, response) {
    const { method, url, rawHeaders } = request;
    const { port } = this.#take(request);
    const passed = http.request({ host: '127.0.0.1', port, method, path: url, headers: rawHeaders, agent: this.#agent, setHost: false }, answer => {
      response.writeHead(answer.statusCode, answer.statusMessage, answer.rawHeaders).flushHeaders();
      answer.pipe(response);
      answer.on('error', () => response.destroy());
    });
    passed.on('error', () => response.destroy());
    response.on('close', () => { if (!response.writableFinished) passed.destroy(); });
    request.pipe(passed);
  }

  #upgrade(request, client, head) {
    const { method, url, rawHeaders } = request;
    const { port } = this.#take(request);
    const server = this.#track(net.connect(port, '127.0.0.1'));
    let text = `${method} ${url} HTTP/1.1\r\n`;
    for (let i = 0; i < rawHeaders.length; i += 2) text += `${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`;
    server.write(`${text}\r\n`, 'latin1');
    server.write(head);
    client.pipe(server).pipe(client);
    client.on('close', () => server.destroy());
    server.on('close', () => client.destroy());
  }
}
