// One night in a real browser: somebody signs in, raises an alert and watches it escalate, a second tab sees who
// has it, the service is killed and comes back, and axe looks at every page on the way.
//
// node story.mjs CALLOUT KEY_FILE FOLDER SCREENSHOTS
import { spawn } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [callout, keyFile, folder, screenshots] = process.argv.slice(2);
const KEY = "browser-key-0123456789abcdef0123456789";
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const children = [];
const fail = (text) => {
  throw new Error(text);
};
const freePort = () =>
  new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
const start = (...args) => {
  const child = spawn(callout, args, { cwd: folder, stdio: ["ignore", "inherit", "inherit"] });
  children.push(child);
  return child;
};
const end = (child) =>
  new Promise((done) => {
    child.once("exit", done);
    child.kill("SIGKILL");
  });

const [port, vonagePort] = [await freePort(), await freePort()];
const base = `http://127.0.0.1:${port}`;
const isUp = async () => {
  const limit = Date.now() + 30_000;
  for (;;) {
    if (await fetch(`${base}/healthz`).then((answer) => answer.ok, () => false)) return;
    if (Date.now() > limit) fail("the service never came up");
    await new Promise((done) => setTimeout(done, 50));
  }
};

mkdirSync(screenshots, { recursive: true });
copyFileSync(keyFile, join(folder, "private.key"));
writeFileSync(
  join(folder, "callout.yaml"),
  JSON.stringify({
    server: { listen: `127.0.0.1:${port}`, api_key: KEY },
    store: "sqlite:callout.db",
    vonage: {
      application_id: "11111111-2222-4333-8444-555555555555",
      private_key: "private.key",
      url: `http://127.0.0.1:${vonagePort}`,
      from: { messenger: "108450971234567", sms: "447700900101", whatsapp: "447700900100" },
    },
    users: [
      {
        name: "Tony",
        channels: [
          { type: "messenger", id_num: "6542087712345678", expiry_time: 6 },
          { type: "sms", id_num: "447700900001", expiry_time: 300 },
        ],
      },
      { name: "Michael", channels: [{ type: "whatsapp", id_num: "447700900002", expiry_time: 300 }] },
    ],
    policies: [{ name: "default", users: ["Tony", "Michael"], repeat: 1 }],
  }),
);

const complaints = [];
const looks = async (page, name) => {
  await page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true });
  await page.evaluate(`${axe}; 0`);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document));
  for (const { id, impact, nodes } of violations.filter(({ impact }) => ["serious", "critical"].includes(impact))) {
    complaints.push(`${name}: ${impact}: ${id}: ${nodes.map(({ html }) => html).join(" ").slice(0, 400)}`);
  }
};
const watch = (page) => {
  page.on("pageerror", (error) => complaints.push(`an error on ${page.url()}: ${error.message}`));
  page.on("dialog", (dialog) => {
    complaints.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("console", (message) => {
    if (/Content Security Policy/.test(message.text())) complaints.push(`the policy was broken: ${message.text()}`);
  });
  return page;
};

let browser;
try {
  start("sandbox", "--listen", `127.0.0.1:${vonagePort}`, "--webhooks", base);
  let service = start("serve", "--config", "callout.yaml");
  await isUp();
  browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  const context = await browser.newContext({ viewport: { width: 1200, height: 850 } });
  const page = watch(await context.newPage());

  // Signing in
  await page.goto(`${base}/?status=resolved`);
  if (!page.url().includes("/sign-in")) fail(`not asked to sign in: ${page.url()}`);
  await looks(page, "sign-in");
  await page.fill("#key", KEY);
  await page.fill("#name", "Ann");
  await page.keyboard.press("Enter");
  await page.waitForURL(`${base}/?status=resolved`);
  await page.goto(`${base}/`);
  await page.waitForSelector(".connection.live");

  // Raising, and seeing it escalate without a reload
  await page.click(".raise summary");
  await page.fill("#message", "Main server <script>alert('pwned')</script> is down");
  await page.selectOption("#severity", "critical");
  await page.click(".raise button");
  await page.waitForURL(/\/alerts\//);
  const alert = page.url();
  await page.evaluate(() => (globalThis.sameDocument = true));
  await page.waitForSelector(".rung.current .badge.fate:text('delivered')");
  await looks(page, "alert-light");
  await page.waitForSelector(".rung.current .channel:text('SMS')", { timeout: 30_000 });
  if (!(await page.evaluate(() => globalThis.sameDocument))) fail("the page was loaded again");
  await page.waitForSelector(".rung.expired .channel:text('Messenger')");
  const [first, second] = [await page.textContent(".big time"), (await page.waitForTimeout(1_500), await page.textContent(".big time"))];
  if (first === second) fail(`the countdown stands at ${first}`);

  // Small and dark
  await page.emulateMedia({ colorScheme: "dark" });
  await page.setViewportSize({ width: 360, height: 740 });
  await looks(page, "alert-dark-360");
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  if (width > 360) fail(`the page is ${width} pixels wide on a phone`);

  // A second tab, and the service killed in between
  const other = watch(await context.newPage());
  await other.goto(`${base}/`);
  await other.waitForSelector(".connection.live");
  await other.waitForSelector("#escalating article");
  await looks(other, "alerts-light");
  await end(service);
  await other.waitForSelector(".connection.lost", { timeout: 30_000 });
  await looks(other, "connection-lost");
  service = start("serve", "--config", "callout.yaml");
  await isUp();
  await other.waitForSelector(".connection.live", { timeout: 30_000 });
  await page.waitForSelector(".connection.live", { timeout: 30_000 });

  // Acknowledging with the keyboard, seen in the other tab
  await page.focus("#acknowledge");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".state.acknowledged");
  if (!(await page.textContent("#headline")).includes("Ann")) fail("it does not say who has it");
  await other.waitForSelector("#recent .badge.acknowledged", { timeout: 20_000 }).catch(async () => {
    fail(`the second tab never heard of it: ${await other.textContent("main")}`);
  });
  if (await other.$("#escalating article")) fail("the second tab still shows it as escalating");
  await page.emulateMedia({ colorScheme: "light" });
  await looks(page, "acknowledged-360");

  // Without JavaScript
  const plain = await browser.newContext({ javaScriptEnabled: false, storageState: await context.storageState() });
  const reader = await plain.newPage();
  await reader.goto(alert);
  await reader.click("#end > summary");
  await reader.click("#resolve");
  await reader.waitForSelector(".state.resolved");
  await page.waitForSelector(".state.resolved", { timeout: 20_000 });

  if (complaints.length > 0) fail(complaints.join("\n"));
  console.log("the story has come to its end");
} finally {
  await browser?.close();
  for (const child of children) child.kill("SIGKILL");
}
