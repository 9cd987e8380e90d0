// What a person does on the demo's page.
import assert from 'node:assert/strict';
import { patience } from '../node/client.mjs';

/** A tab of its own, before anybody has entered. */
export async function visit(browser, url, viewport = { width: 1100, height: 720 }) {
  const context = await browser.newContext({ viewport });
  const page = await context.newPage();
  page.on('pageerror', error => assert.fail(`the page: ${error.message}`));
  page.setDefaultTimeout(patience);
  await page.goto(url);
  return page;
}

/** Enters a room. */
export async function enter(page, name, room) {
  await page.fill('#name', name);
  await page.fill('#first-room', room);
  await page.click('#login button');
  await page.locator('#state', { hasText: /^connected$/ }).waitFor();
  await page.locator('#people', { hasText: `${name} (you)` }).waitFor();
}

export async function say(page, text) {
  await page.fill('#text', text);
  await page.press('#text', 'Enter');
}

export const line = (page, text) => page.locator('#lines li', { hasText: text });
