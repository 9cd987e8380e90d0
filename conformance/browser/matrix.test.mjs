// The browser's build of the official client, in a real browser, over every transport and protocol. The page comes from another origin
// than the hub, so that the browser asks the server for its consent as well.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { noMessagePack, within } from '../node/client.mjs';
import { reference, startServer } from '../server.mjs';
import { client, launch, messagePack, servePages } from './browser.mjs';

const files = {
  '/': ['text/html', '<!doctype html><link rel="icon" href="data:,"><script src="signalr.js"></script><script src="msgpack.js"></script><script src="page.js"></script>'],
  '/signalr.js': ['text/javascript', client],
  '/msgpack.js': ['text/javascript', messagePack],
  '/page.js': ['text/javascript', `${prepare}`],
};

/** Runs in the page: gives it a function that makes connections, which remember their messages and their ends. */
function prepare(url, transport, binary) {
  /** What has come, and a promise of the next that comes. */
  class Inbox {
    #items = [];
    #arrived = () => {};
    push(item) { this.#items.push(item); this.#arrived(); }
    get size() { return this.#items.length; }
    async next() {
      while (!this.#items.length) await new Promise(arrived => { this.#arrived = arrived; });
      return this.#items.shift();
    }
  }

  window.connect = async (options = {}) => {
    const connection = new signalR.HubConnectionBuilder()
      .withUrl(url, { transport: signalR.HttpTransportType[transport], withCredentials: false, ...options })
      .withHubProtocol(binary ? new signalR.protocols.msgpack.MessagePackHubProtocol() : new signalR.JsonHubProtocol())
      .configureLogging(signalR.LogLevel.None)
      .build();
    connection.messages = new Inbox();
    connection.closes = new Inbox();
    connection.on('Message', message => connection.messages.push(message));
    connection.onclose(error => connection.closes.push(error === undefined ? 'no error' : error.message));
    await connection.start();
    return connection;
  };

  /** All items of a stream, once it has ended. */
  window.streamed = stream => new Promise((resolve, reject) => {
    const items = [];
    stream.subscribe({ next: item => items.push(item), complete: () => resolve(items), error: reject });
  });
}

let browser, pages, server;

before(async () => {
  server = await startServer(reference ? [] : ['-origins', '*']);
  pages = await servePages(files);
  browser = await launch();
});

after(async () => {
  await browser?.close();
  pages?.close();
  await server?.stop();
});

for (const [transport, protocol] of [
  ['WebSockets', 'JSON'], ['WebSockets', 'MessagePack'], ['ServerSentEvents', 'JSON'], ['LongPolling', 'JSON'], ['LongPolling', 'MessagePack'],
]) {
  const binary = protocol === 'MessagePack';
  describe(`${transport}, ${protocol}`, { skip: binary && noMessagePack }, () => {
    /** A test whose function runs in a page of its own, and returns what is expected. */
    function inPage(name, run, expected) {
      test(name, async t => {
        const page = await browser.newPage();
        t.after(() => page.close());
        const failures = [];
        page.on('pageerror', ({ message }) => failures.push(message));
        await page.goto(pages.origin);
        await page.evaluate(([url, transport, binary]) => prepare(url, transport, binary), [`${server.url}/testhub`, transport, binary]);
        assert.deepEqual(await within(page.evaluate(run, transport), name), expected);
        assert.deepEqual(failures, []);
      });
    }

    inPage('calls and messages', async transport => {
      const client = await connect();
      const sum = await client.invoke('Add', 2, 40);
      await client.send('ToCaller', 'hello');
      const text = await client.invoke('Echo', 'é 漢字 😀');
      const error = await client.invoke('ThrowHubException', 'no').catch(({ message }) => message);
      const name = await client.invoke('GetActiveTransportName');
      return [sum, await client.messages.next(), text, error, name === transport, client.connectionId === await client.invoke('Id')];
    }, [42, 'hello', 'é 漢字 😀', `An unexpected error occurred invoking 'ThrowHubException' on the server. HubException: no`, true, true]);

    inPage('bytes', async () => {
      const client = await connect();
      const { byteArray, ByteArray } = await client.invoke('SendComplexObject');
      return byteArray ?? [...ByteArray]; // in MessagePack names are the declared ones
    }, binary ? [1, 2, 3] : 'AQID');

    inPage('large messages', async () => {
      const client = await connect();
      const texts = ['a', 'b', 'c'].map(letter => letter.repeat(30_000));
      const echoes = await Promise.all(texts.map(text => client.invoke('Echo', text)));
      return echoes.every((text, i) => text === texts[i]);
    }, true);

    inPage('tokens', async () => {
      const [client, nobody] = await Promise.all([connect({ accessTokenFactory: () => 'alice & co:admin' }), connect()]);
      const refusal = await nobody.invoke('AdminOnly').catch(({ message }) => message);
      return [await client.invoke('UserId'), await client.invoke('AdminOnly'), await client.invoke('Query', 'access_token'), refusal];
    }, ['alice & co', 'ok', transport === 'LongPolling' ? null : 'alice & co:admin', `Failed to invoke 'AdminOnly' because user is unauthorized`]);

    inPage('streams', async () => {
      const client = await connect();
      const items = await streamed(client.stream('Counter', 5, 1));
      const error = await streamed(client.stream('StreamThrowException', 'boom')).catch(({ message }) => message.split('.')[0]);
      const some = await new Promise(resolve => {
        const items = [];
        const subscription = client.stream('InfiniteStream').subscribe({
          next: item => { if (items.push(item) === 3) { subscription.dispose(); resolve(items); } },
        });
      });
      return [items, error, some, await client.invoke('Echo', 'goes on')];
    }, [[0, 1, 2, 3, 4], `An unexpected error occurred invoking 'StreamThrowException' on the server`, [0, 1, 2], 'goes on']);

    inPage('uploads', async () => {
      const client = await connect();
      const [numbers, texts] = [new signalR.Subject(), new signalR.Subject()];
      const sum = client.invoke('UploadSum', 100, numbers);
      for (const number of [1, 2, 3]) numbers.next(number);
      numbers.complete();
      const echoes = streamed(client.stream('StreamEcho', texts));
      for (const text of ['one', 'two']) texts.next(text);
      texts.complete();
      return [await sum, await echoes];
    }, [106, ['echo:one', 'echo:two']]);

    inPage('results', async () => {
      const [client, other] = await Promise.all([connect(), connect()]);
      client.on('Ask', async question => `${question} Me.`);
      other.on('Ask', () => { throw new Error('not me'); });
      const answer = await client.invoke('AskCaller', 'Who?');
      const asked = await other.invoke('AskClient', client.connectionId, 'Who else?');
      const error = await client.invoke('AskClient', other.connectionId, 'Who?').catch(({ message }) => message.split('HubException: ')[1]);
      return [answer, asked, error];
    }, ['Who? Me.', 'Who else? Me.', 'Error: not me']);

    inPage('groups', async () => {
      const clients = await Promise.all([connect(), connect(), connect()]);
      for (const client of clients.slice(1)) await client.invoke('Join', 'browsers');
      await clients[0].invoke('ToGroup', 'browsers', 'hello');
      await clients[0].invoke('ToAll', 'the end');
      const received = [];
      for (const { messages } of clients) {
        const texts = [];
        for (let text; (text = await messages.next()) !== 'the end';) texts.push(text);
        received.push(texts);
      }
      return received;
    }, [[], ['hello'], ['hello']]);

    inPage('the client stops', async () => {
      const [client, witness] = await Promise.all([connect(), connect()]);
      const id = client.connectionId;
      await client.stop();
      let fate = null;
      while (fate === null) fate = await witness.invoke('Fate', id);
      return [client.state, await client.closes.next(), fate];
    }, ['Disconnected', 'no error', 'closed']);

    inPage('the server closes the connection', async () => {
      const client = await connect();
      await client.invoke('ToCaller', 'before');
      const error = await client.invoke('Abort').catch(({ message }) => message);
      return [error, await client.closes.next(), client.state, await client.messages.next()];
    }, ['Invocation canceled due to the underlying connection being closed.', 'no error', 'Disconnected', 'before']);
  });
}
