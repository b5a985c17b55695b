// Looks at what the admin page says where the server has no token.
// Argument: {"url", "token", "folder", "milliseconds"}: the page; a token to type; where a screenshot goes, or null.
// Result: {asked, wrong, state, pageErrors}.
import { launch } from './lib.mjs';

const { url, token, folder, milliseconds } = JSON.parse(process.argv[2]);
const browser = await launch();
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(milliseconds);
  const pageErrors = [];
  page.on('pageerror', (error) => pageErrors.push(String(error)));
  await page.goto(url);
  await page.locator('#token-dialog[open]').waitFor();
  const asked = await page.locator('#token-dialog').innerText();
  if (folder !== null) {
    await page.screenshot({ path: `${folder}/no-token.png` });
  }
  await page.fill('#token', token);
  await page.keyboard.press('Enter');
  await page.locator('#token-wrong:not([hidden])').waitFor();
  const wrong = await page.locator('#token-dialog').innerText();
  const state = await page.locator('#state').textContent();
  console.log(JSON.stringify({ asked, wrong, state, pageErrors }));
} finally {
  await browser.close();
}
