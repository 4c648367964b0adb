// One night in a real browser: somebody signs in, raises an alert and watches it escalate, a second tab sees who
// has it, the service is killed and comes back. It is all done without a mouse; each page is also seen on a phone,
// by day and by night, and axe looks at every one on the way.
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
    server: { listen: `127.0.0.1:${port}`, api_key: KEY, public_url: base },
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
  const [has, needs] = await page.evaluate(() => [innerWidth, document.documentElement.scrollWidth]);
  if (needs > has) complaints.push(`${name} is ${needs} pixels wide on a screen of ${has}`);
  await page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true });
  await page.evaluate(`${axe}; 0`);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document));
  for (const { id, impact, nodes } of violations.filter(({ impact }) => ["serious", "critical"].includes(impact))) {
    complaints.push(`${name}: ${impact}: ${id}: ${nodes.map(({ html }) => html).join(" ").slice(0, 400)}`);
  }
};
const PHONE = { width: 360, height: 740 };
const DESK = { width: 1200, height: 850 };
const looksOnAPhone = async (page, name) => {
  await page.setViewportSize(PHONE);
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await looks(page, `${name}-360-${colorScheme}`);
  }
  await page.emulateMedia({ colorScheme: "light" });
};

// What a person without a mouse meets: where the focus is, and whether it can be seen.
const focused = (page) =>
  page.evaluate(() => {
    const element = document.activeElement;
    const { outlineStyle, outlineWidth } = getComputedStyle(element);
    const { top, bottom, width } = element.getBoundingClientRect();
    const isSeen = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2 && width > 1 && bottom > 0 && top < innerHeight;
    const name = element.id ? `#${element.id}` : (element.textContent.trim().split("\n")[0] || element.tagName);
    return { name, isSeen };
  });
// Goes on by Tab until the focus is where it should be, and says where it was on the way.
const tabTo = async (page, selector) => {
  const way = [];
  for (let step = 0; step < 40; step += 1) {
    await page.keyboard.press("Tab");
    const { name, isSeen } = await focused(page);
    if (!isSeen) complaints.push(`the focus cannot be seen on ${name} of ${page.url()}`);
    way.push(name);
    if (await page.evaluate((wanted) => document.activeElement.matches(wanted), selector)) return way;
  }
  return fail(`Tab never comes to ${selector}: ${way.join(", ")}`);
};
const isOrder = (way, expected) => {
  if (way.join() !== expected.join()) complaints.push(`Tab goes to ${way.join(", ")}, not to ${expected.join(", ")}`);
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
  const context = await browser.newContext({ viewport: DESK });
  const page = watch(await context.newPage());

  // Signing in
  await page.goto(`${base}/?status=resolved`);
  if (!page.url().includes("/sign-in")) fail(`not asked to sign in: ${page.url()}`);
  await looks(page, "sign-in");
  await page.keyboard.type(KEY);
  isOrder(await tabTo(page, "#name"), ["#name"]);
  await page.keyboard.type("Ann");
  isOrder(await tabTo(page, "button"), ["Sign in"]);
  await page.keyboard.press("Enter");
  await page.waitForURL(`${base}/?status=resolved`);
  await page.goto(`${base}/`);
  await page.waitForSelector(".connection.live");
  await looksOnAPhone(page, "nothing-to-do");
  await page.setViewportSize(DESK);

  // Raising, and seeing it escalate without a reload
  const toTheForm = await tabTo(page, ".raise summary");
  isOrder(toTheForm, ["Skip to the content", "callout", "Sign out", "#status", "#policy", "Show", "Raise a test alert"]);
  await page.keyboard.press("Enter");
  await tabTo(page, "#message");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("Main server <script>alert('pwned')</script> is down");
  await tabTo(page, "#severity");
  await page.keyboard.type("critical");
  isOrder(await tabTo(page, "button.primary"), ["Raise and call people"]);
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/alerts\//);
  const alert = page.url();
  await page.evaluate(() => (globalThis.sameDocument = true));
  await page.waitForSelector(".rung.current .badge.fate:text('delivered')");
  await looks(page, "alert-light");
  await page.waitForSelector(".rung.current .channel:text('SMS')", { timeout: 30_000 });
  if (!(await page.evaluate(() => globalThis.sameDocument))) fail("the page was loaded again");
  await page.waitForSelector(".rung.expired .channel:text('Messenger')");
  const stood = await page.textContent(".big time");
  await page.waitForFunction((stood) => document.querySelector(".big time").textContent !== stood, stood, { timeout: 20_000 }).catch(() => {
    fail(`the countdown stands at ${stood}`);
  });

  // On a phone, with texts that need room; what the message on it links to
  await looksOnAPhone(page, "alert");
  const api = (path, body) =>
    fetch(`${base}${path}`, {
      method: "POST",
      headers: { authorization: `Bearer ${KEY}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    }).then((answer) => (answer.ok ? answer.json() : fail(`${path}: ${answer.status}`)));
  const warehouse = await api("/alerts", { message: "ارتفعت درجة الحرارة في المستودع (4°C)، يرجى الفحص فورًا!", severity: "warning" });
  const long = await api("/alerts", { message: `volume/${"0123456789abcdef".repeat(8)} is full`, severity: "error" });
  await api(`/alerts/${warehouse.id}/acknowledge`, { by: "Wolfeschlegelsteinhausenbergerdorff" });
  await api(`/alerts/${long.id}/resolve`, {});
  const { sent } = await fetch(`http://127.0.0.1:${vonagePort}/sent`).then((answer) => answer.json());
  const link = sent.map(({ text }) => text?.match(/http\S+\/a\/\S+/)?.[0]).find(Boolean) ?? fail("no message has a link");
  const stranger = watch(await (await browser.newContext()).newPage());
  await stranger.goto(link);
  await looksOnAPhone(stranger, "link");
  isOrder(await tabTo(stranger, "button"), ["I have seen it"]);

  // A second tab, and the service killed in between
  const other = watch(await context.newPage());
  await other.goto(`${base}/`);
  await other.waitForSelector(".connection.live");
  await other.waitForSelector("#escalating article");
  await looks(other, "alerts-light");
  await looksOnAPhone(other, "alerts");
  await other.setViewportSize(DESK);
  await end(service);
  await other.waitForSelector(".connection.lost", { timeout: 30_000 });
  await looks(other, "connection-lost");
  await looksOnAPhone(other, "connection-lost");
  service = start("serve", "--config", "callout.yaml");
  await isUp();
  await other.waitForSelector(".connection.live", { timeout: 30_000 });
  await page.waitForSelector(".connection.live", { timeout: 30_000 });

  // Acknowledging with the keyboard, past the head of the page, seen in the other tab
  await page.reload();
  await page.waitForSelector(".connection.live");
  await tabTo(page, ".skip");
  await page.keyboard.press("Enter");
  isOrder(await tabTo(page, "#end > summary"), ["← All alerts", "#acknowledge", "Next user…", "Resolve…"]);
  await page.keyboard.press("Enter");
  isOrder(await tabTo(page, "#resolve"), ["#resolve"]);
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Enter");
  for (let back = 0; back < 2; back += 1) await page.keyboard.press("Shift+Tab");
  if ((await focused(page)).name !== "#acknowledge") fail(`the way back is another: ${(await focused(page)).name}`);
  await page.keyboard.press("Enter");
  await page.waitForSelector(".state.acknowledged");
  if (!(await page.textContent("#headline")).includes("Ann")) fail("it does not say who has it");
  const neverHeard = async () => fail(`the second tab never heard of it: ${await other.textContent("main")}`);
  await other.waitForSelector(`#recent li:has(a[href="${new URL(alert).pathname}"]) .badge.acknowledged`, { timeout: 20_000 }).catch(neverHeard);
  await other.waitForSelector("#escalating article", { state: "detached", timeout: 20_000 }).catch(neverHeard);
  await looksOnAPhone(page, "acknowledged");
  await looksOnAPhone(other, "all-answered");

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
