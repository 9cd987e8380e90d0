// Finds a browser that can be started here.
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';

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

/** Starts a browser, or returns nothing if none can be started. */
export async function launch() {
  for (const { executablePath, args } of await candidates()) {
    try {
      return await chromium.launch({ executablePath, args, chromiumSandbox: process.getuid?.() !== 0 && !args.includes('--no-sandbox') });
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
