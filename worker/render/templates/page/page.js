"use strict";
// Keeps an open page up to date. All pages work without it.
(() => {
  const news = document.getElementById("news");
  if (!news || !window.EventSource) return;
  const FIRST = 1000, MOST = 60000, GATHER = 500;
  let source = null, wait = FIRST, timer = 0, due = 0, busy = false, again = false;

  const busyHere = (part) => part.contains(document.activeElement) && /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);

  const place = (element) => {
    const all = [...document.querySelectorAll("main a[href], main [tabindex='0'], main summary")];
    const near = element && element.closest("[data-live]");
    return near ? { id: near.id, href: element.getAttribute("href"), index: all.indexOf(element) } : null;
  };

  const back = (was) => {
    if (!was) return;
    const part = document.getElementById(was.id);
    if (!part) return;
    const same = was.href && [...part.querySelectorAll("a[href]")].find((link) => link.getAttribute("href") === was.href);
    const all = [...document.querySelectorAll("main a[href], main [tabindex='0'], main summary")];
    const next = same || all[was.index];
    if (next && part.contains(next)) next.focus({ preventScroll: true });
  };

  const sameText = (part, other) => {
    const bare = (element) => { const copy = element.cloneNode(true); copy.querySelectorAll("time, #link").forEach((each) => { each.removeAttribute("title"); each.textContent = ""; }); return copy.innerHTML; };
    return bare(part) === bare(other);
  };

  const swap = (text) => {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    const was = place(document.activeElement);
    let changed = false;
    for (const part of document.querySelectorAll("[data-live]")) {
      const other = fresh.getElementById(part.id);
      if (!other || busyHere(part) || sameText(part, other) && part.dataset.state === other.dataset.state) continue;
      const open = [...part.querySelectorAll("details")].map((each) => each.open);
      for (const name of ["state", "next", "late"]) if (other.dataset[name]) part.dataset[name] = other.dataset[name];
      part.replaceChildren(...[...other.childNodes].map((node) => document.importNode(node, true)));
      part.querySelectorAll("details").forEach((each, index) => { each.open = !!open[index]; });
      changed = true;
    }
    if (changed) localTimes();
    if (changed && was) back(was);
    const other = fresh.getElementById("news");
    if (other) news.dataset.version = other.dataset.version;
    return changed;
  };

  const refresh = async () => {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin", headers: { Accept: "text/html" } });
      if (answer.ok && swap(await answer.text())) news.textContent = news.dataset.updated;
    } catch (error) { /* the next event tries again */ }
    busy = false;
    if (again) { again = false; later(); }
  };

  const later = () => { clearTimeout(due); due = setTimeout(refresh, GATHER); };

  const units = news.dataset.units.split("|");
  const STEPS = [[172800, 86400], [7200, 3600], [120, 60], [0, 1]];

  // as worker/render/relative.py
  const relative = (stamp) => {
    const seconds = Math.round((Date.parse(stamp) - Date.now()) / 1000);
    const index = STEPS.findIndex(([least]) => Math.abs(seconds) >= least);
    const amount = units[index].replace("{n}", Math.floor(Math.abs(seconds) / STEPS[index][1]));
    return (seconds > 0 ? news.dataset.future : news.dataset.past).replace("{time}", amount);
  };

  const localTimes = () => {
    const form = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    for (const time of document.querySelectorAll("time:not([data-zone])")) {
      const here = form.format(new Date(time.dateTime));
      time.title = `${here} ${zone} · ${time.dateTime.slice(0, 16).replace("T", " ")} UTC`;
      const text = "relative" in time.dataset ? relative(time.dateTime) : here;
      if (time.textContent !== text) time.textContent = text;
    }
  };

  const tick = () => {
    localTimes();
    const pulse = document.getElementById("pulse");
    if (pulse && pulse.dataset.late && Date.now() > Date.parse(pulse.dataset.late)) {
      delete pulse.dataset.late;
      refresh();
    }
  };

  const link = (text) => { const part = document.getElementById("link"); if (part) part.textContent = text; };

  const onChange = (event) => { if (event.data !== news.dataset.version) later(); };

  const close = () => { clearTimeout(timer); if (source) source.close(); source = null; };

  const open = () => {
    close();
    if (document.hidden) return;
    source = new EventSource("/events");
    source.addEventListener("hello", (event) => { wait = FIRST; link(""); onChange(event); });
    source.addEventListener("change", onChange);
    source.onerror = () => {
      close();
      link(document.getElementById("link")?.dataset.reconnecting || "");
      timer = setTimeout(open, wait);
      wait = Math.min(MOST, wait * 2);
    };
  };

  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else open(); });
  tick();
  setInterval(tick, 1000);
  open();
})();
