/* vitrine: a table too long for a page, to be searched, filtered, sorted and linked to.
 *
 * Loaded by vitrine.js where a page holds a `.vitrine-explorer`. The rows come from a script of the
 * same site (a script, because fetch() does not read file://) that sets
 *   window.VITRINE_DATA[NAME] = { columns: [{ title, kind, digits, filter }], rows: [[...], ...] }
 * Without JavaScript the page shows the first rows and the CSV file instead.
 */
(() => {
  "use strict";

  const PAGE = 25;

  const { element } = window.vitrine;

  const shown = (value, column) =>
    value === null ? "–" : column.kind === "number" ? window.vitrine.number(value, column.digits) : String(value);

  /** What the address says of the explorer called `name`: #name?q=...&page=2&row=17&Network=... */
  function readAddress(name) {
    const [anchor, query] = decodeURIComponent(location.hash.slice(1)).split("?");
    return anchor === name ? new URLSearchParams(query ?? "") : new URLSearchParams();
  }

  function setUp(explorer, name, label, { columns, rows }) {
    const state = {};

    /** Take over what the address asks for; whether it asks for anything here. */
    function obey() {
      const asked = readAddress(name);
      Object.assign(state, {
        words: asked.get("q") ?? "",
        column: asked.has("sort") ? Number(asked.get("sort")) : -1,
        direction: asked.get("order") === "down" ? -1 : 1,
        page: Math.max(0, Number(asked.get("page") ?? 1) - 1),
        row: asked.has("row") ? Number(asked.get("row")) : -1,
        filters: new Map(columns.flatMap((column, index) =>
          column.filter && asked.get(column.title) ? [[index, asked.get(column.title)]] : [])),
      });
      return asked.size > 0;
    }
    let asked = obey();
    const text = rows.map((row) => row.filter((value) => typeof value === "string").join("\n").toLowerCase());

    /* ---------- Controls ---------- */
    const search = element("input", { type: "search", placeholder: "Search the labels", "aria-label": "Search the labels", autocomplete: "off" });
    const choices = columns.flatMap((column, index) => {
      if (!column.filter) return [];
      const values = [...new Set(rows.map((row) => row[index]))];
      const select = element("select", { "aria-label": column.title }, element("option", { value: "" }, `All: ${column.title.toLowerCase()}`),
        ...values.map((value) => element("option", { value }, String(value))));
      select.dataset.column = index;
      select.addEventListener("change", () => {
        if (select.value) state.filters.set(index, select.value);
        else state.filters.delete(index);
        state.page = 0;
        update(true);
      });
      return [select];
    });
    const count = element("output", { "aria-live": "polite" });
    const controls = element("div", { class: "vitrine-explorer-controls" }, search, ...choices, count);

    /* ---------- Table ---------- */
    const heads = columns.map((column, index) => {
      const button = element("button", { type: "button", class: "vitrine-sort" }, column.title);
      button.addEventListener("click", () => {
        if (state.column === index) state.direction = -state.direction;
        else Object.assign(state, { column: index, direction: column.kind === "number" ? -1 : 1 });
        state.page = 0;
        update(true);
      });
      return element("th", { scope: "col", role: "columnheader", class: column.kind === "number" ? "is-numeric" : "" }, button);
    });
    const body = element("tbody", { role: "rowgroup" });
    // The roles are said, because a narrow screen takes the table's display away.
    const table = element("table", { role: "table" }, element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...heads)), body);
    const box = element("div", { class: "vitrine-scroll", tabindex: "0", role: "region", "aria-label": label }, table);
    const before = element("button", { type: "button" }, "← Previous");
    const after = element("button", { type: "button" }, "Next →");
    const where = element("span");
    const pager = element("div", { class: "vitrine-explorer-pager" }, before, where, after);
    before.addEventListener("click", () => { state.page -= 1; update(true); });
    after.addEventListener("click", () => { state.page += 1; update(true); });
    let timer = 0;
    search.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => { state.words = search.value; state.page = 0; update(true); }, 120);
    });

    function chosen() {
      const words = state.words.toLowerCase().split(/\s+/).filter(Boolean);
      const kept = rows.map((_, index) => index).filter((index) =>
        words.every((word) => text[index].includes(word)) &&
        [...state.filters].every(([column, value]) => String(rows[index][column]) === value));
      if (state.column >= 0) {
        const { column, direction } = state;
        const last = direction > 0 ? Infinity : -Infinity;
        kept.sort((a, b) => {
          const [one, other] = [rows[a][column], rows[b][column]];
          const difference = typeof one === "string" ? one.localeCompare(other) : (one ?? last) - (other ?? last);
          return direction * difference || a - b;
        });
      }
      return kept;
    }

    /** The address of what is shown; with a row, of that row among the same ones. */
    function addressOf(row) {
      const query = new URLSearchParams();
      if (state.words) query.set("q", state.words);
      for (const [index, value] of state.filters) query.set(columns[index].title, value);
      if (state.column >= 0) {
        query.set("sort", state.column);
        if (state.direction < 0) query.set("order", "down");
      }
      if (row !== undefined) query.set("row", row);
      else if (state.page) query.set("page", state.page + 1);
      return `#${name}${query.size ? `?${query}` : ""}`;
    }

    function rowOf(index) {
      const cells = rows[index].map((value, column) => element("td", {
        role: "cell", class: columns[column].kind === "number" ? "is-numeric" : "", "data-title": columns[column].title,
      }, shown(value, columns[column])));
      cells.at(-1).append(element("a", { class: "vitrine-row-link", href: addressOf(index), "aria-label": "Link to this row", title: "Link to this row" }, "#"));
      return element("tr", { role: "row", ...(index === state.row ? { "aria-current": "true" } : {}) }, ...cells);
    }

    function update(typed) {
      if (!typed) {
        search.value = state.words;
        for (const select of choices) select.value = state.filters.get(Number(select.dataset.column)) ?? "";
      }
      const kept = chosen();
      const pages = Math.max(1, Math.ceil(kept.length / PAGE));
      if (typed) state.row = -1;
      else if (kept.includes(state.row)) state.page = Math.floor(kept.indexOf(state.row) / PAGE);
      state.page = Math.min(Math.max(0, state.page), pages - 1);
      body.replaceChildren(...kept.slice(state.page * PAGE, (state.page + 1) * PAGE).map(rowOf));
      heads.forEach((head, index) => {
        if (index === state.column) head.setAttribute("aria-sort", state.direction > 0 ? "ascending" : "descending");
        else head.removeAttribute("aria-sort");
      });
      count.textContent = `${kept.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
      where.textContent = `Page ${state.page + 1} of ${pages}`;
      const turning = document.activeElement;
      before.disabled = state.page === 0;
      after.disabled = state.page === pages - 1;
      // At the first and the last page the keyboard goes on with the other button.
      if (turning === after && after.disabled) before.focus();
      if (turning === before && before.disabled) after.focus();
      if (typed) history.replaceState(null, "", addressOf());
    }

    /** Show what the address asked for: the row, or the explorer. */
    function arrive() {
      (body.querySelector("[aria-current]") ?? explorer).scrollIntoView({ block: state.row < 0 ? "start" : "center" });
    }

    update(false);
    explorer.querySelector(":scope > :is(table, .vitrine-table, .vitrine-scroll)")?.remove();
    explorer.prepend(controls, box, pager);
    explorer.classList.add("is-ready");
    if (asked) arrive();
    // A link of the same page, from a bar of a chart for example, asks for other rows.
    addEventListener("hashchange", () => {
      asked = obey();
      if (!asked) return;
      update(false);
      arrive();
    });
  }

  window.vitrineExplorer = setUp;
})();
