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

  const swap = (text) => {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    const was = place(document.activeElement);
    let changed = false;
    for (const part of document.querySelectorAll("[data-live]")) {
      const other = fresh.getElementById(part.id);
      if (!other || busyHere(part) || part.innerHTML === other.innerHTML) continue;
      const open = [...part.querySelectorAll("details")].map((each) => each.open);
      part.replaceChildren(...[...other.childNodes].map((node) => document.importNode(node, true)));
      part.querySelectorAll("details").forEach((each, index) => { each.open = !!open[index]; });
      changed = true;
    }
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

  const onChange = (event) => { if (event.data !== news.dataset.version) later(); };

  const close = () => { clearTimeout(timer); if (source) source.close(); source = null; };

  const open = () => {
    close();
    if (document.hidden) return;
    source = new EventSource("/events");
    source.addEventListener("hello", (event) => { wait = FIRST; onChange(event); });
    source.addEventListener("change", onChange);
    source.onerror = () => {
      close();
      timer = setTimeout(open, wait);
      wait = Math.min(MOST, wait * 2);
    };
  };

  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else open(); });
  open();
})();
