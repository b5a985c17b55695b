// Drives the admin page as an operator does.
// Argument: {"url", "token", "wrongToken", "sessions", "kill", "host", "folder", "messages"}: the page; tokens to type; how
// many sessions there are; the number of one to end; the host for the ICE test; where screenshots go, or null; messages of
// the round trip.
// Result: {users, details, found, sessionsAfterKill, refusals, credentials, config, prefilled, urls, candidates, verdict, trip,
// history, drained, undrained, reloaded, overflow, pwned, requests, pageErrors}.
import { launch } from './lib.mjs';

const { url, token, wrongToken, sessions, kill, host, folder, messages } = JSON.parse(process.argv[2]);
const WIDE = { width: 1360, height: 900 };
const NARROW = { width: 390, height: 844 };
const browser = await launch();
try {
  const page = await browser.newPage({
    viewport: WIDE, colorScheme: 'light', permissions: ['clipboard-read', 'clipboard-write'],
  });
  page.setDefaultTimeout(60_000);
  const pageErrors = [];
  const requests = new Set();
  page.on('pageerror', (error) => pageErrors.push(String(error)));
  // A refused request (401) is one as well, and expected where there is a token.
  page.on('console', (message) => {
    if (message.type() === 'error' && !/status of 401/.test(message.text())) {
      pageErrors.push(message.text());
    }
  });
  page.on('request', (request) => requests.add(new URL(request.url()).origin));
  const shot = async (name, fullPage = true) => {
    if (folder !== null) {
      await page.screenshot({ path: `${folder}/${name}.png`, fullPage });
    }
  };
  await page.goto(url);

  if (token !== null) {
    await page.locator('#token-dialog[open]').waitFor();
    await shot('token', false);
    await page.fill('#token', wrongToken);
    await page.keyboard.press('Enter');
    await page.locator('#token-wrong:not([hidden])').waitFor();
    await page.fill('#token', token);
    await page.keyboard.press('Enter');
  }

  const rows = page.locator('#session-table tbody[data-session]');
  const listed = () => page.waitForFunction((count) => document.querySelectorAll('tbody[data-session]').length === count, sessions);
  await listed();
  const users = await rows.locator('td.name').allTextContents();
  const row = page.locator(`tbody[data-session="${kill}"]`);
  await row.locator('button.id').click();
  const details = await row.locator('tr.details').innerText();

  await page.fill('#search', 'alic');
  await page.locator('#sessions-count', { hasText: 'match' }).waitFor();
  const found = await rows.locator('td.name').allTextContents();
  await page.click('#filter-clear');
  await listed();

  await page.locator('#reasons button').first().waitFor();
  const refusals = await page.locator('#refusals-shown').innerText();

  const text = (selector) => page.locator(selector).innerText();
  await page.fill('#credentials-name', 'tablet');
  await page.click('#credentials-make');
  await page.locator('#credentials-result:not([hidden])').waitFor();
  await page.getByRole('button', { name: 'Copy JSON' }).click();
  await page.getByRole('button', { name: 'Copy JSON' }).filter({ hasText: 'Copied' }).waitFor();
  const credentials = {
    shown: await text('#credentials-json'),
    copied: await page.evaluate(() => navigator.clipboard.readText()),
    qr: await page.locator('#credentials-qr path').getAttribute('d'),
  };
  const config = `${await text('#config-summary')} ${await text('#certificate-table')} ${await text('#key-table')}`;

  const prefilled = await page.inputValue('#ice-host');
  await page.fill('#ice-host', host);
  await page.fill('#ice-messages', String(messages));
  await page.click('#ice-run');
  await page.locator('#trip-verdict.good, #trip-verdict.bad, #ice-verdict.bad').first().waitFor();
  const verdict = await page.locator('#ice-verdict').innerText();
  const trip = await page.locator('#trip-verdict').textContent();
  const urls = await page.locator('#ice-urls tbody tr').evaluateAll((all) => all.map((one) => ({
    url: one.dataset.url, verdict: one.dataset.verdict, text: one.querySelector('[data-label=Result]').textContent,
  })));
  const candidates = await page.locator('#candidates tbody tr').evaluateAll((all) => all.map((one) => ({
    type: one.dataset.type,
    address: one.querySelector('[data-label=Address]').textContent,
    protocol: one.querySelector('[data-label=Protocol]').textContent,
    after: one.querySelector('[data-label=After]').textContent,
  })));
  const overflow = [];
  for (const [scheme, size, name] of [
    ['light', WIDE, 'wide-light'], ['dark', WIDE, 'wide-dark'], ['light', NARROW, 'narrow-light'], ['dark', NARROW, 'narrow-dark'],
  ]) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.setViewportSize(size);
    await page.evaluate(() => window.scrollTo({ top: 0, behavior: 'instant' }));
    await page.waitForTimeout(400);
    overflow.push(await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth));
    await shot(name);
  }
  await page.setViewportSize(WIDE);

  // The page's own test of the relay has ended its sessions, and the list has been fetched since.
  await listed();

  // With the keyboard alone; the first of the two buttons, which has the focus, does nothing.
  const end = row.locator('td.action button');
  await end.focus();
  await page.keyboard.press('Enter');
  await page.locator('#confirm-dialog[open]').waitFor();
  await shot('confirm', false);
  await page.keyboard.press('Enter');
  await page.locator('#confirm-dialog[open]').waitFor({ state: 'hidden' });
  const sessionsAfterNo = await rows.count();
  await end.focus();
  await page.keyboard.press('Enter');
  await page.locator('#confirm-dialog[open]').waitFor();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await row.waitFor({ state: 'detached' });
  const sessionsAfterKill = await rows.count();

  await page.click('#drain');
  await page.click('#confirm-yes');
  await page.locator('#state.draining').waitFor();
  const drained = await page.locator('#notice-title').innerText();
  await page.getByRole('button', { name: 'Stop draining' }).click();
  await page.locator('#state.serving').waitFor();
  const undrained = await page.locator('#notice-title').innerText();
  await page.click('#reload');
  await page.getByText(/^Reloaded|^not reloaded/).waitFor();
  const reloaded = await page.locator('#notice').innerText();
  await shot('reloaded', false);

  // A tab that nobody sees asks for nothing; the server's history fills the hole afterwards.
  await page.evaluate(() => Object.defineProperty(document, 'hidden', { configurable: true, get: () => true }));
  await page.waitForTimeout(6000);
  const filled = page.waitForResponse(/history\?range=minutes/);
  await page.evaluate(() => { delete document.hidden; });
  await filled;

  // The server alone can tell what was before the page was opened: no second status comes.
  let statuses = 0;
  await page.route('**/api/v1/status', (route) => {
    statuses += 1;
    return statuses > 1 ? route.abort() : route.continue();
  });
  const errorsBefore = pageErrors.length;
  await page.reload();
  await page.waitForFunction(() => (document.querySelector('#plots path.line')?.getAttribute('d') ?? '').split('L').length > 3);
  const history = await page.locator('#plots .grid text').allTextContents();
  // Requests that were aborted here are told as errors.
  pageErrors.splice(errorsBefore, pageErrors.length, ...pageErrors.slice(errorsBefore).filter((line) => !/Failed to load resource/.test(line)));

  const pwned = await page.evaluate(() => window.pwned !== undefined || document.querySelectorAll('main img, main b').length > 0);
  console.log(JSON.stringify({
    users, details, found, sessionsAfterNo, sessionsAfterKill, refusals, credentials, config, prefilled, urls, candidates, verdict,
    trip, history, drained, undrained, reloaded, overflow, pwned,
    requests: [...requests], pageErrors,
  }));
} finally {
  await browser.close();
}
