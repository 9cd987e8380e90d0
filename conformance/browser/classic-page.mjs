// What classic.html has beside the clients, for the functions that classic.test.mjs runs in it.
import { Client } from '../classic/connection.mjs';
import { Inbox } from '../inbox.mjs';

const transport = new URLSearchParams(location.search).get('transport');

/** A client of SignalR 2, and what its callbacks "got" of TestHub and "hello" of EventHub have had. */
function newClient(path = '/signalr', options = {}) {
  const client = new Client(window, path, { transport, ...options });
  client.got = client.on('got');
  client.hello = client.on('hello', 'eventHub');
  return client;
}

async function connect(path, options, start) {
  const client = newClient(path, options);
  await client.start(start);
  return client;
}

/** A client of ASP.NET Core SignalR, with its callback "got". */
async function connectCore(path) {
  const client = new signalR.HubConnectionBuilder().withUrl(path).configureLogging(signalR.LogLevel.None).build();
  client.got = new Inbox('got');
  client.on('got', text => client.got.push(text));
  await client.start();
  return client;
}

/** What a call or a start fails with, if it does. */
const errorOf = promise => promise.then(() => undefined, ({ message, source, data }) => ({ message, source, data }));

Object.assign(window, { newClient, connect, connectCore, errorOf });
