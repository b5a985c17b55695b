// Turns the pages of a list of many sessions, sorts and searches it.
// Argument: {"url", "token", "total", "folder", "milliseconds"}: the page; its token; how many sessions there are; where a
// screenshot goes, or null.
// Result: {count, pages: [[numbers]], telephone, pageErrors}: `telephone` is the number of sessions on its first page.
import { launch } from './lib.mjs';

const { url, token, total, folder, milliseconds } = JSON.parse(process.argv[2]);
const browser = await launch();
try {
  const pageErrors = [];
  const open = async (viewport) => {
    const page = await browser.newPage({ viewport });
    page.setDefaultTimeout(milliseconds);
    page.on('pageerror', (error) => pageErrors.push(String(error)));
    await page.addInitScript((text) => sessionStorage.setItem('turnd-admin-token', text), token);
    await page.goto(url);
    await page.locator('tbody[data-session]').first().waitFor();
    return page;
  };
  const shown = (page) => page.locator('tbody[data-session]').evaluateAll((all) => all.map((one) => Number(one.dataset.session)));
  const page = await open({ width: 1366, height: 900 });
  await page.selectOption('#sort', 'age');
  const count = await page.locator('#sessions-count').innerText();
  const pages = [];
  for (let number = 1; ; number += 1) {
    await page.locator('#page-number', { hasText: `Page ${number} of` }).waitFor();
    await page.locator('tbody[data-session]').first().waitFor();
    pages.push(await shown(page));
    if (await page.locator('#page-next').isDisabled()) {
      break;
    }
    await page.click('#page-next');
  }
  if (folder !== null) {
    await page.screenshot({ path: `${folder}/many.png`, fullPage: true });
  }
  await page.fill('#search', `no such user ${total}`);
  await page.locator('#sessions-empty', { hasText: 'No session matches.' }).waitFor();
  const telephone = await open({ width: 390, height: 844 });
  const cards = await shown(telephone);
  console.log(JSON.stringify({ count, pages, telephone: cards.length, pageErrors }));
} finally {
  await browser.close();
}
