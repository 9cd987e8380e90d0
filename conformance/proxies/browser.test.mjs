// A page in a real browser and its hub behind one proxy, over TLS and HTTP/2.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { client, launch } from '../browser/browser.mjs';
import { within } from '../node/client.mjs';
import { startServer } from '../server.mjs';
import { startHAProxy, startNginx, whyNot } from './proxies.mjs';

const compressing = [['client_max_body_size 16m;', 'client_max_body_size 16m; gzip on; gzip_min_length 0; gzip_types text/event-stream application/json;']];

let browser;
before(async () => { browser = await launch(); });
after(() => browser?.close());

for (const [name, program, startProxy] of [
  ['nginx', 'nginx', server => startNginx(server)],
  ['nginx that compresses', 'nginx', server => startNginx(server, { changes: compressing })],
  ['HAProxy', 'haproxy', server => startHAProxy(server)],
]) {
  const skip = whyNot(program);
  describe(name, { skip }, () => {
    let server, proxy;
    before(async () => {
      server = await startServer(['-origins', '']);
      proxy = await startProxy(server);
    });
    after(() => Promise.all([proxy?.stop(), server?.stop()]));

    for (const transport of ['WebSockets', 'ServerSentEvents', 'LongPolling']) {
      test(transport, async t => {
        const context = await browser.newContext({ ignoreHTTPSErrors: true });
        t.after(() => context.close());
        const page = await context.newPage();
        // Whatever the server has for a page: browsers look at where it comes from, too.
        await page.goto(`${proxy.url}/pid`);
        await page.evaluate(client);
        const found = await within(page.evaluate(async transport => {
          const connection = new signalR.HubConnectionBuilder().withUrl('/testhub', signalR.HttpTransportType[transport]).configureLogging(signalR.LogLevel.None).build();
          const messages = [];
          let arrived;
          connection.on('Message', message => { messages.push(message); arrived(); });
          await connection.start();
          for (let i = 0; i < 3; i++) { // each before the next is sent
            const next = new Promise(resolve => { arrived = resolve; });
            await connection.send('ToCaller', `message ${i}`);
            await next;
          }
          const [name, text] = [await connection.invoke('GetActiveTransportName'), 'x'.repeat(30_000)];
          const echoed = await connection.invoke('Echo', text) === text;
          await connection.stop();
          const [negotiation] = performance.getEntriesByType('resource').filter(({ name }) => name.includes('/negotiate'));
          return [name, messages, echoed, negotiation.nextHopProtocol];
        }, transport), transport);
        assert.deepEqual(found, [transport, ['message 0', 'message 1', 'message 2'], true, 'h2']);
      });
    }
  });
}
