// What the tests of tokens share: requests of one's own beside those of a client, and a look at what a client negotiates.
import { DefaultHttpClient, NullLogger } from '@microsoft/signalr';
import WebSocket from 'ws';
import { connect, within } from './client.mjs';

/** Options of a client with a token, or with a function that returns one. */
export const as = token => ({ accessTokenFactory: typeof token === 'function' ? token : () => token });

export const bearer = token => (token ? { Authorization: `Bearer ${token}` } : {});

/** A request that is not the client's. */
export const ask = (method, url, token, body) => within(fetch(url, { method, headers: bearer(token), body }), `${method} ${url}`);

/** The token of a connection that has just been negotiated. */
export async function negotiated(hub, token, version = 1) {
  const { connectionId, connectionToken = connectionId } = await (await ask('POST', `${hub}/negotiate?negotiateVersion=${version}`, token)).json();
  return connectionToken;
}

/** The status with which a WebSocket is refused. */
export function refusalOf(url, token) {
  const socket = new WebSocket(url.replace('http:', 'ws:'), { headers: bearer(token) });
  return within(new Promise((refused, failed) => {
    socket.on('error', () => {}).once('open', () => failed(new Error('the WebSocket is not refused')));
    socket.once('unexpected-response', (request, response) => { refused(response.statusCode); request.destroy(); });
  }), 'a refusal').finally(() => socket.terminate());
}

/**
 * The client's own HTTP client, which notes the token of the connection when it is negotiated. It can be given another bearer
 * token: the client itself fetches none while it is connected.
 */
class Observed extends DefaultHttpClient {
  constructor() {
    super(NullLogger.instance);
  }

  async send(request) {
    if (this.token) request.headers.Authorization = `Bearer ${this.token}`;
    const response = await super.send(request);
    if (request.url.includes('/negotiate')) this.id = JSON.parse(response.content).connectionToken;
    return response;
  }
}

/** A client that has negotiated, and is connected until the end of the test, the token of its connection, and a way to give it another bearer token. */
export async function connectObserved(t, way, url, options) {
  const httpClient = new Observed();
  const client = await connect(t, way, url, { ...options, httpClient });
  return { client, id: httpClient.id, use: token => { httpClient.token = token; } };
}

/**
 * What attempt does with the time at which its tokens expire. Where a busy machine needs longer than that for what has to be done before,
 * and it fails for that reason, it is given twice as long.
 */
export async function inTime(attempt) {
  for (let lifetime = 3000; ; lifetime *= 2) {
    const expires = Date.now() + lifetime;
    try {
      return await attempt(expires);
    } catch (error) {
      if (Date.now() < expires || lifetime > 20_000) throw error;
    }
  }
}
