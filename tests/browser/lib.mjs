// What the scenarios share: a headless Chromium whose traffic stays on this host, and how they report.
import { createServer } from 'node:http';
import { chromium } from 'playwright-core';

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--allow-loopback-in-peer-connection',
  // Host candidates by address: mDNS names would be announced to the network.
  '--disable-features=WebRtcHideLocalIpsWithMdns,MediaRouter,OptimizationHints',
  // The browser asks for nothing but the page.
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
  // A canvas in a headless page is painted at full rate.
  '--disable-renderer-backgrounding', '--disable-backgrounding-occluded-windows',
];

/** The browser; it keeps the authorities that it trusts in `home`. */
export const launch = (home) =>
  chromium.launch({
    executablePath: '/usr/bin/chromium', headless: true, args: FLAGS, timeout: 60_000,
    env: home ? { ...process.env, HOME: home } : process.env,
  });

/** Runs `scenario(argument)` in a page; prints what it returns, with the page's errors, as one line of JSON. */
export async function inPage(scenario) {
  const argument = JSON.parse(process.argv[2]);
  const server = createServer((_, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<!doctype html><title>turnd</title>');
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const browser = await launch(argument.home);
  try {
    const page = await browser.newPage();
    const pageErrors = [];
    page.on('pageerror', (error) => pageErrors.push(String(error)));
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    const result = await page.evaluate(scenario, argument);
    console.log(JSON.stringify({ ...result, pageErrors }));
  } finally {
    await browser.close();
    server.close();
  }
}
