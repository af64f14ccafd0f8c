// Checks pages with axe-core in Chromium, in light and dark and at phone width: `node status_page.mjs NAME=URL...`.
// With SCREENSHOTS=DIRECTORY it also saves what it saw.
import { createRequire } from "node:module";

const require = createRequire(process.env.NODE_PATH + "/");
const { chromium } = require("playwright-core");
const { AxeBuilder } = require("@axe-core/playwright");

const views = [
  { view: "light", colorScheme: "light", viewport: { width: 1280, height: 900 } },
  { view: "dark", colorScheme: "dark", viewport: { width: 1280, height: 900 } },
  { view: "phone", colorScheme: "light", viewport: { width: 375, height: 812 } },
  { view: "phone-dark", colorScheme: "dark", viewport: { width: 375, height: 812 } },
];
const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args });
let problems = 0;
const report = (text) => {
  problems += 1;
  console.error(text);
};
for (const [name, url] of process.argv.slice(2).map((pair) => pair.split(/=(.*)/s))) {
  // axe takes half a minute for hundreds of rows, which are all alike: two views have each colour and each width.
  for (const { view, ...options } of name === "full" ? [views[0], views[3]] : views) {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    // The content security policy reports what it blocks here.
    page.on("console", (message) => report(`${name} ${view}: ${message.text()}`));
    await page.goto(url);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
    if (wide) report(`${name} ${view}: the page is wider than the window`);
    if (process.env.SCREENSHOTS) {
      await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}-${view}.png` });
    }
    // axe needs a script, which the policy forbids: it runs in a context without the policy.
    const free = await browser.newContext({ ...options, bypassCSP: true });
    const tested = await free.newPage();
    await tested.goto(url);
    const { violations } = await new AxeBuilder({ page: tested }).analyze();
    for (const { id, help, nodes } of violations) {
      report(`${name} ${view}: ${id}: ${help}: ${nodes[0].html} ${nodes[0].failureSummary}`);
    }
    await context.close();
    await free.close();
  }
}
await browser.close();
if (problems > 0) process.exit(1);
console.log("no finding");
