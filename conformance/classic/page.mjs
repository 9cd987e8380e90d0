// A page of a browser, as far as the clients of SignalR 2 need one, in which one of them is loaded.
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import NodeEventSource from 'eventsource';
import { JSDOM, VirtualConsole } from 'jsdom';
import { within } from '../node/client.mjs';

const { resolve } = createRequire(import.meta.url);

/** The clients: the scripts of a page. */
export const current = { name: 'signalr 2.4.3', scripts: ['jquery/dist/jquery.js', 'signalr/jquery.signalR.js'] };
export const old = { name: 'ms-signalr-client 2.2.7', scripts: ['jquery2/dist/jquery.js', 'ms-signalr-client/jquery.signalR.js'] };

/** An EventSource for a window of jsdom, which has none. */
function eventSourceFor(dom) {
  return class EventSource extends NodeEventSource {
    constructor(url, options) {
      const cookie = dom.cookieJar.getCookieStringSync(url);
      super(url, { ...options, headers: cookie ? { Cookie: cookie } : {} });
      // Longer than the client waits until it makes a new one: this one asks for the first address again.
      this.reconnectInterval = 4000;
    }

    addEventListener(type, listener) {
      super.addEventListener(type, function pass({ type, data }) { listener.call(this, { type, data, eventPhase: type === 'error' ? 2 : 0 }); });
    }
  };
}

/**
 * A page of the site at url, with a client: by its scripts, unless others are given. proxies is the path of a script with generated proxies.
 */
export async function openPage(url, { client = current, scripts = client.scripts, proxies } = {}) {
  const virtualConsole = new VirtualConsole();
  const errors = [];
  virtualConsole.on('jsdomError', error => { if (error.type === 'unhandled-exception') errors.push(error); });
  const dom = new JSDOM('<!doctype html><body></body>', { url: `${url}/`, runScripts: 'outside-only', pretendToBeVisual: true, virtualConsole });
  const { window } = dom;
  window.EventSource = eventSourceFor(dom);
  for (const script of scripts) window.eval(await readFile(resolve(script), 'utf8'));
  if (window.document.readyState !== 'complete') {
    await within(new Promise(loaded => window.addEventListener('load', loaded)), 'the page');
  }
  if (proxies) {
    const answer = await fetch(url + proxies);
    if (answer.status !== 200) throw new Error(`${proxies}: status ${answer.status}`);
    window.eval(await answer.text());
  }
  return { url, window, jQuery: window.jQuery, cookies: dom.cookieJar, errors, close: () => window.close() };
}
