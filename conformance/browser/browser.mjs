// Finds a browser that can be started here, and has what its pages need.
import { existsSync, readFileSync } from 'node:fs';
import http from 'node:http';
import { resolve } from 'node:path';
import { chromium } from 'playwright-core';

const modules = resolve(import.meta.dirname, '../node_modules/@microsoft');

/** The browser's builds of the official client and of its MessagePack: where they lie, and what they are. */
export const clientFile = `${modules}/signalr/dist/browser/signalr.min.js`;
export const client = readFileSync(clientFile, 'utf8');
export const messagePack = readFileSync(`${modules}/signalr-protocol-msgpack/dist/browser/signalr-protocol-msgpack.min.js`, 'utf8');

/** Serves files, each with its type, at an origin of their own. */
export async function servePages(files) {
  const server = http.createServer((request, response) => {
    const [type, content] = files[request.url] ?? ['text/plain', ''];
    response.writeHead(content ? 200 : 404, { 'Content-Type': type }).end(content);
  });
  await new Promise(listening => server.listen(0, '127.0.0.1', listening));
  return { origin: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

const places = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome', '/opt/google/chrome/chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome', 'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe'];

// No traffic but what a page asks for.
const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run', '--disable-quic'];

async function candidates() {
  const list = [];
  if (process.env.CHROME) list.push({ executablePath: process.env.CHROME, args: quiet });
  list.push(...places.filter(existsSync).map(executablePath => ({ executablePath, args: quiet })));
  if (process.platform === 'linux') {
    const { default: bundled } = await import('@sparticuz/chromium');
    list.push({ executablePath: await bundled.executablePath(), args: ['--no-sandbox', '--disable-gpu', '--headless=shell', ...quiet] });
  }
  return list;
}

/** Starts a browser, with more arguments if there are any, or returns nothing if none can be started. */
export async function launch(more = []) {
  for (const { executablePath, args } of await candidates()) {
    try {
      return await chromium.launch({ executablePath, args: [...args, ...more], chromiumSandbox: process.getuid?.() !== 0 && !args.includes('--no-sandbox') });
    } catch (error) {
      console.log(`${executablePath} does not start: ${error.message.split('\n')[0]}`);
    }
  }
  return undefined;
}

/** Tells whether a browser can be started. */
export async function findBrowser() {
  const browser = await launch();
  await browser?.close();
  return browser !== undefined;
}
