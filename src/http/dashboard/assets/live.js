// Moves the clocks of a page and keeps it fresh. The page is complete without this script: the server makes all
// of it, and when something has changed the page is taken again and its parts exchanged where they differ.
"use strict";
(() => {
  const body = document.body;
  const ahead = body.dataset.now ? Date.parse(body.dataset.now) - Date.now() : 0;
  const now = () => Date.now() + ahead;
  const parts = () => document.querySelectorAll("[data-live-part][id]");
  const made = new Map();
  for (const part of parts()) made.set(part.id, part.outerHTML);

  // Clocks

  const two = (number) => String(number).padStart(2, "0");
  const span = (seconds) => {
    const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
    return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
  };
  const ago = (seconds) => {
    if (seconds < 5) return "just now";
    if (seconds < 60) return `${seconds} s ago`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
    return `${Math.floor(seconds / 86400)} d ago`;
  };
  const local = (moment) => {
    const day = new Date(now()).toDateString() === moment.toDateString() ? {} : { month: "short", day: "numeric" };
    return moment.toLocaleString([], { ...day, hour: "2-digit", minute: "2-digit", second: "2-digit" });
  };
  const write = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };
  const tick = () => {
    for (const element of document.querySelectorAll("time[datetime]")) {
      const at = Date.parse(element.dateTime);
      if (!element.title) element.title = element.dateTime;
      if ("until" in element.dataset) {
        write(element, span(Math.max(0, Math.ceil((at - now()) / 1000))));
      } else if ("ago" in element.dataset) {
        write(element, ago(Math.max(0, Math.floor((now() - at) / 1000))));
      } else {
        write(element, local(new Date(at)));
      }
    }
    for (const bar of document.querySelectorAll("progress[data-from]")) {
      bar.value = Math.min(bar.max, Math.max(0, (now() - Date.parse(bar.dataset.from)) / 1000));
    }
  };

  // Freshness

  const announce = (text) => write(document.getElementById("announce"), text);
  const headline = () => document.getElementById("headline")?.textContent.trim() ?? "";
  const exchange = (fresh) => {
    const before = headline();
    for (const next of fresh.querySelectorAll("[data-live-part][id]")) {
      const old = document.getElementById(next.id);
      const html = next.outerHTML;
      if (!old || made.get(next.id) === html) continue;
      made.set(next.id, html);
      const focused = old.contains(document.activeElement) ? document.activeElement : null;
      const open = [...old.querySelectorAll("details[open][id]")].map((details) => details.id);
      old.replaceWith(document.importNode(next, true));
      for (const id of open) document.getElementById(id)?.setAttribute("open", "");
      if (focused) refocus(focused, next.id);
    }
    // A part that the page has only now, or no longer: nothing short of the whole page will do.
    const ids = (of) => [...of.querySelectorAll("[data-live-part][id]")].map((part) => part.id).join();
    if (ids(fresh) !== ids(document)) location.reload();
    document.title = fresh.title;
    tick();
    if (headline() !== before) announce(headline());
  };
  const refocus = (focused, part) => {
    const again = focused.id
      ? document.getElementById(focused.id)
      : focused.tagName === "SUMMARY" && focused.parentElement.id
        ? document.querySelector(`#${CSS.escape(focused.parentElement.id)} > summary`)
        : null;
    (again ?? document.querySelector(`#${CSS.escape(part)} a, #${CSS.escape(part)} button`))?.focus({ preventScroll: true });
  };

  let looking = false;
  let again = false;
  const look = async () => {
    if (looking) {
      again = true;
      return;
    }
    looking = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
      if (answer.redirected) location.reload();
      else if (answer.ok) exchange(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      // The stream tells of a lost connection.
    }
    looking = false;
    if (again) {
      again = false;
      look();
    }
  };

  // The stream

  const shown = document.getElementById("connection");
  let lostAt = null;
  const connected = () => {
    lostAt = null;
    shown.className = "connection live";
    write(shown, "Live");
  };
  const lost = () => {
    lostAt ??= new Date(now());
    shown.className = "connection lost";
    write(shown, `Connection lost, trying again since ${local(lostAt)}`);
  };
  const listen = () => {
    const stream = new EventSource(body.dataset.live);
    stream.addEventListener("look", () => {
      connected();
      look();
    });
    stream.addEventListener("error", () => {
      lost();
      if (stream.readyState !== EventSource.CLOSED) return;
      // The server answered, but not with a stream: perhaps the session is over; taking the page shows it.
      setTimeout(() => {
        look();
        listen();
      }, 3000);
    });
  };

  // A button is pressed once.
  document.addEventListener("submit", (event) => {
    if (!("once" in event.target.dataset)) return;
    if (event.target.dataset.once === "sent") event.preventDefault();
    event.target.dataset.once = "sent";
  });

  tick();
  setInterval(tick, 500);
  if (body.dataset.live) {
    write(shown, "Connecting…");
    listen();
  }
})();
