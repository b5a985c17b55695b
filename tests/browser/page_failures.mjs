// Looks at what the admin page says when things go wrong.
// Argument: {"url", "token", "user", "password", "milliseconds"}: the page; its token; a user's login.
// Result: {asked, refused, verdict, errors: [{code, url, text}], reload, pageErrors}.
import { launch } from './lib.mjs';

const { url, token, user, password, milliseconds } = JSON.parse(process.argv[2]);
const browser = await launch();
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(milliseconds);
  const pageErrors = [];
  page.on('pageerror', (error) => pageErrors.push(String(error)));
  await page.goto(url);
  await page.locator('#token-dialog[open]').waitFor();
  const asked = await page.locator('#token-dialog').innerText();
  await page.fill('#token', token);
  await page.keyboard.press('Enter');
  await page.locator('#state.serving').waitFor();

  await page.click('#ice-run');
  await page.locator('#ice-verdict.bad').waitFor();
  const refused = await page.locator('#ice-verdict').textContent();
  await page.locator('#ice-run:enabled').waitFor();
  await page.fill('#ice-host', '127.0.0.1');
  await page.fill('#ice-user', user);
  await page.fill('#ice-password', password);
  await page.click('#ice-run');
  await page.locator('#candidate-errors tbody tr').first().waitFor();
  await page.locator('#ice-verdict.bad, #ice-verdict.good').first().waitFor();
  const verdict = await page.locator('#ice-verdict').textContent();
  const errors = await page.locator('#candidate-errors tbody tr').evaluateAll((all) => all.map((one) => {
    const text = (label) => one.querySelector(`[data-label=${label}]`).textContent;
    return { code: text('Code'), url: text('URL'), text: text('Text') };
  }));

  await page.click('#reload');
  await page.locator('#notice.bad').waitFor();
  const reload = await page.locator('#notice').textContent();
  console.log(JSON.stringify({ asked, refused, verdict, errors, reload, pageErrors }));
} finally {
  await browser.close();
}
