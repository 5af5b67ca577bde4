"use strict";
// Search, filters, sorting and paging of the tables. Without this script all rows are shown in document order.
(() => {
  const PAGE = 200; // rows shown at first: one tbody of the template
  const STEP = 1000; // rows added by each "more"
  const PAUSE = 80; // debounce of typing, in milliseconds
  const PATIENCE = 500; // a busy browser fills the filters after this time, in milliseconds
  const [SHOWN, LATE, OUT] = [0, 1, 2];

  const tools = document.getElementById("tools");
  if (!tools) return;
  const words = tools.dataset;
  const search = document.getElementById("search");
  const attention = document.getElementById("attention-only");
  const clear = document.getElementById("clear");
  const matches = document.getElementById("matches");
  const collator = new Intl.Collator(document.documentElement.lang, { numeric: true });
  const grouped = new Intl.NumberFormat("en");
  const facets = new Map(); // key of a column to its select

  const fold = (text) => text.normalize("NFC").toLowerCase();
  const fill = (pattern, values) => pattern.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const element = (name, properties = {}) => Object.assign(document.createElement(name), properties);
  // the value of a mark is its word without the symbol, that of an account its name without the id
  const valueOf = (cell) => (cell.querySelector(".chip")?.lastChild ?? cell.querySelector(".name") ?? cell).textContent.trim();

  class List {
    constructor(table) {
      this.table = table;
      this.head = [...table.tHead.rows[0].cells];
      this.keys = this.head.map((cell) => cell.dataset.key);
      this.titles = this.head.map((cell) => cell.textContent);
      this.rows = [...table.querySelectorAll("tbody > tr:not(.group)")];
      this.grouped = table.classList.contains("grouped");
      this.groups = this.grouped ? this.findGroups() : [];
      this.order = this.rows.map((_, place) => place);
      this.states = new Uint8Array(this.rows.length);
      this.limit = PAGE;
      this.found = this.rows.length;
      this.sorted = "";
      this.columns = new Map();
      this.settled = false;
      this.head.forEach((cell, place) => this.offer(cell, place));
      this.pages = element("p", { className: "tools" });
      this.more = element("button", { type: "button" });
      this.every = element("button", { type: "button" });
      this.pages.append(this.more, this.every);
      table.parentElement.after(this.pages);
      this.more.addEventListener("click", () => this.show(this.limit + STEP));
      this.every.addEventListener("click", () => this.show(Infinity));
      this.updateButtons();
    }

    // each group: the row with the name of its account, and the places of its first row and after its last
    findGroups() {
      const places = new Map(this.rows.map((row, place) => [row, place]));
      const heads = [...this.table.querySelectorAll("tr.group")];
      const starts = heads.map((head) => places.get(head.nextElementSibling));
      return heads.map((head, index) => ({ head, start: starts[index], end: starts[index + 1] ?? this.rows.length }));
    }

    offer(cell, place) {
      const button = element("button", { type: "button", textContent: this.titles[place] });
      button.title = fill(words.sort, { column: this.titles[place] });
      button.addEventListener("click", () => {
        // the third time restores the order of the document, with its groups
        this.sort(cell.ariaSort === "descending" ? "" : this.keys[place], cell.ariaSort === "ascending");
        this.apply();
        remember();
      });
      cell.replaceChildren(button);
    }

    // the values of one column, in the order of the document
    values(key) {
      let values = this.columns.get(key);
      if (!values) {
        const place = this.keys.indexOf(key);
        values = this.rows.map((row) => valueOf(row.cells[place]));
        this.columns.set(key, values);
      }
      return values;
    }

    // searched: all texts of a row, and its number without hyphens
    get texts() {
      this.text ??= this.rows.map((row) => fold(row.textContent));
      return this.text;
    }

    get digits() {
      this.digit ??= this.keys.includes("phone") ? this.values("phone").map((text) => text.replaceAll("-", "")) : null;
      return this.digit;
    }

    // the template hides late rows by whole tbodies; from here on each row has its own state
    settle() {
      if (this.settled) return;
      this.settled = true;
      for (let place = PAGE; place < this.rows.length; place++) {
        this.rows[place].className = "late";
        this.states[place] = LATE;
      }
      for (const body of this.table.tBodies) body.className = "";
    }

    filter() {
      const terms = fold(search.value).split(/\s+/).filter(Boolean);
      const numbers = terms.map((term) => (/^[\d-]*\d[\d-]*$/.test(term) ? term.replaceAll("-", "") : null));
      const wanted = [...facets]
        .filter(([key, select]) => select.value && this.keys.includes(key))
        .map(([key, select]) => [this.values(key), select.value]);
      const { rows } = this;
      const texts = terms.length ? this.texts : null;
      const digits = terms.length ? this.digits : null;
      return (place) =>
        (!attention.checked || "attention" in rows[place].dataset) &&
        wanted.every(([values, value]) => values[place] === value) &&
        terms.every(
          (term, index) => texts[place].includes(term) || (digits && numbers[index] && digits[place].includes(numbers[index])),
        );
    }

    apply() {
      this.settle();
      const matching = this.filter();
      let found = 0;
      for (const place of this.order) {
        const state = !matching(place) ? OUT : found++ < this.limit ? SHOWN : LATE;
        if (state === this.states[place]) continue;
        this.states[place] = state;
        const row = this.rows[place];
        row.hidden = state === OUT;
        row.className = state === LATE ? "late" : "";
      }
      this.found = found;
      for (const { head, start, end } of this.groups) head.hidden = !this.states.subarray(start, end).includes(SHOWN);
      this.updateButtons();
    }

    show(limit) {
      this.limit = limit;
      this.apply();
    }

    updateButtons() {
      const left = Math.max(this.found - this.limit, 0);
      this.pages.hidden = !left;
      this.more.textContent = fill(words.more, { number: grouped.format(Math.min(left, STEP)) });
      this.every.textContent = fill(words.every, { number: grouped.format(this.found) });
    }

    // sorts by a column, empty cells last; without a column, in document order
    sort(key, down) {
      const place = this.keys.indexOf(key);
      this.sorted = place < 0 ? "" : `${down ? "-" : ""}${this.table.dataset.key}.${key}`;
      this.head.forEach((cell, other) => {
        if (other === place) cell.ariaSort = down ? "descending" : "ascending";
        else cell.removeAttribute("aria-sort");
      });
      this.settle();
      this.order = this.rows.map((_, row) => row);
      if (place >= 0) {
        const compare = this.comparison(key, place);
        const sign = down ? -1 : 1;
        const empty = this.values(key).map((text) => text === "");
        this.order.sort((one, other) => empty[one] - empty[other] || sign * compare(one, other) || one - other);
      }
      this.table.classList.toggle("grouped", this.grouped && place < 0);
      const heads = new Map(this.groups.map(({ head, start }) => [start, head]));
      const sorted = document.createDocumentFragment();
      for (const row of this.order) {
        if (place < 0 && heads.has(row)) sorted.append(heads.get(row));
        sorted.append(this.rows[row]);
      }
      this.table.tBodies[0].append(sorted);
    }

    comparison(key, place) {
      const values = this.values(key);
      if (!this.head[place].classList.contains("number")) {
        return (one, other) => collator.compare(values[one], values[other]);
      }
      const amounts = this.rows.map((row, index) => Number(row.cells[place].dataset.value ?? values[index].replaceAll(",", "")));
      return (one, other) => amounts[one] - amounts[other];
    }

    get count() {
      const values = { title: this.table.dataset.title, found: grouped.format(this.found), total: grouped.format(this.rows.length) };
      return fill(words.count, values);
    }
  }

  const lists = [...document.querySelectorAll("table[data-key]")].map((table) => new List(table));

  for (const list of lists) {
    list.head.forEach((cell, place) => {
      if (!cell.dataset.facet) return;
      const select = element("select");
      select.append(new Option(words.any, ""));
      const label = element("label", { textContent: `${cell.dataset.facet} ` });
      label.append(select);
      clear.before(label);
      facets.set(list.keys[place], select);
      select.addEventListener("change", changed);
    });
  }

  // fills the filters once: when the browser is idle, or before one of them opens
  let offered = false;
  function offer() {
    if (offered) return;
    offered = true;
    for (const [key, select] of facets) {
      const all = lists.filter((list) => list.keys.includes(key)).flatMap((list) => list.values(key));
      const values = [...new Set(all)].filter(Boolean).sort(collator.compare);
      select.append(...values.map((value) => new Option(value, value)));
      select.parentElement.hidden = values.length < 2;
    }
  }

  function update() {
    for (const list of lists) {
      list.limit = PAGE;
      list.apply();
    }
    matches.textContent = lists.map((list) => list.count).join(" · ");
  }

  // keeps the state in the link, which can be shared
  function remember() {
    const state = new URLSearchParams();
    if (search.value) state.set("q", search.value);
    if (attention.checked) state.set("attention", "1");
    for (const [key, select] of facets) if (select.value) state.set(key, select.value);
    for (const list of lists) if (list.sorted) state.append("sort", list.sorted);
    const hash = state.size ? `#${state}` : "";
    try {
      history.replaceState(null, "", location.href.split("#")[0] + hash);
    } catch {
      // a sandboxed viewer forbids it: the link stays unchanged
    }
  }

  function recall() {
    const hash = location.hash.slice(1);
    if (document.getElementById(hash)) return false; // an anchor, not a state
    const state = new URLSearchParams(hash);
    offer();
    search.value = state.get("q") ?? "";
    attention.checked = state.has("attention");
    for (const [key, select] of facets) {
      select.value = state.get(key) ?? "";
      if (select.selectedIndex < 0) select.value = "";
    }
    for (const list of lists) {
      const sort = state.getAll("sort").find((each) => each.replace("-", "").startsWith(`${list.table.dataset.key}.`)) ?? "";
      if (sort !== list.sorted) list.sort(sort.slice(sort.indexOf(".") + 1), sort.startsWith("-"));
    }
    update();
    return true;
  }

  function changed() {
    update();
    remember();
  }

  tools.addEventListener("focusin", offer);
  let waiting;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(changed, PAUSE);
  });
  attention.addEventListener("change", changed);
  clear.addEventListener("click", () => {
    search.value = "";
    attention.checked = false;
    for (const select of facets.values()) select.value = "";
    for (const list of lists) if (list.sorted) list.sort("", false);
    changed();
    search.focus();
  });
  window.addEventListener("hashchange", () => {
    if (recall()) lists.at(-1).table.parentElement.focus();
  });

  // opens all details for printing
  const closed = [];
  window.addEventListener("beforeprint", () => {
    for (const each of document.querySelectorAll("details:not([open])")) {
      each.open = true;
      closed.push(each);
    }
  });
  window.addEventListener("afterprint", () => {
    for (const each of closed.splice(0)) each.open = false;
  });

  tools.hidden = false;
  matches.textContent = lists.map((list) => list.count).join(" · ");
  if (location.hash) recall();
  else {
    const prepare = () => {
      offer();
      for (const list of lists) list.texts;
    };
    if (window.requestIdleCallback) requestIdleCallback(prepare, { timeout: PATIENCE });
    else setTimeout(prepare);
  }
})();
