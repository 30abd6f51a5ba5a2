/* vitrine: the script of the report's pages, for both renderers. No dependencies.
 *
 * Everything is readable without it. It adds: live charts, enlarged pictures, sortable tables, and
 * on pages of the bundled renderer also the theme button, the menu, search, tabs, copy buttons and
 * the mark on the current section. It asks for nothing but files of the same site, when they are
 * needed: assets/vega.js with a chart's specification, assets/explorer.js with its rows,
 * assets/viewer.js with its maps, and search.js.
 */
(() => {
  "use strict";

  const root = document.documentElement;
  const assets = new URL(".", document.currentScript.src);
  const darkSystem = matchMedia("(prefers-color-scheme: dark)");

  /* ---------- Small helpers ---------- */

  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  /** A new element with attributes and children (elements or text). */
  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  const loading = new Map();

  /** Load a classic script of this site once; a script, because fetch() does not read file://. */
  function load(url) {
    if (!loading.has(url.href)) {
      loading.set(url.href, new Promise((resolve, reject) => {
        const script = element("script", { src: url.href });
        script.onload = resolve;
        script.onerror = () => {
          loading.delete(url.href);
          reject(new Error(`${url.href} cannot be loaded`));
        };
        document.head.append(script);
      }));
    }
    return loading.get(url.href);
  }

  /** The data in a script of this site, which sets window.VITRINE_DATA[the name of its file]. */
  async function dataOf(source) {
    const url = new URL(source, document.baseURI);
    await load(url);
    return window.VITRINE_DATA[decodeURIComponent(url.pathname.split("/").at(-1)).replace(/\.js$/, "")];
  }
  /** A number as tables have it (report/text.py): "< 0.01" for what is above zero and would be 0.00. */
  function number(value, digits) {
    const shown = value.toFixed(digits).replace("-", "−");
    return value > 0 && Number(shown) === 0 ? `< ${(10 ** -digits).toFixed(digits)}` : shown;
  }

  window.vitrine = { element, dataOf, number }; // for the scripts that this one loads

  /** Call `start` once for each element when it comes into view, and ahead of a reader who scrolls. */
  function whenSeen(elements, start) {
    const started = new Set();
    const watch = (ahead) => {
      const seen = new IntersectionObserver((entries) => {
        for (const { isIntersecting, target } of entries) {
          if (!isIntersecting) continue;
          seen.unobserve(target);
          if (!started.has(target)) start(target);
          started.add(target);
        }
      }, { rootMargin: `${ahead}px 0px` });
      for (const one of elements) seen.observe(one);
    };
    watch(0);
    addEventListener("scroll", () => watch(800), { once: true, passive: true });
  }

  /** `run` at most once a frame. */
  function perFrame(run) {
    let waiting = false;
    return () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; run(); });
    };
  }

  /* ---------- Theme ---------- */

  function isDark() {
    if (root.dataset.theme) return root.dataset.theme === "dark";
    if (document.body.matches(".quarto-dark, .quarto-light")) return document.body.matches(".quarto-dark");
    return darkSystem.matches;
  }

  /** Call `run` whenever the theme may have changed: by button, by system, by Quarto's toggle. */
  function onTheme(run) {
    const watch = new MutationObserver(run);
    watch.observe(root, { attributeFilter: ["data-theme"] });
    watch.observe(document.body, { attributeFilter: ["class"] });
    darkSystem.addEventListener("change", run);
  }

  function setUpTheme() {
    const button = document.querySelector("[data-theme-toggle]");
    if (!button) return;
    const label = () => {
      const text = isDark() ? "Switch to the light theme" : "Switch to the dark theme";
      button.setAttribute("aria-label", text);
      button.title = text;
    };
    button.addEventListener("click", () => {
      const theme = isDark() ? "light" : "dark";
      root.dataset.theme = theme;
      try { localStorage.setItem("vitrine-theme", theme); } catch { /* it lasts for this page */ }
    });
    onTheme(label);
    label();
  }

  /* ---------- Charts ---------- */

  /** The colour tokens as [light, dark], by name, read from vitrine.css. */
  function tokens() {
    const style = getComputedStyle(root);
    const names = ["bg", "text", "muted", "rule", "edge", "accent",
      ...[1, 2, 3, 4, 5, 6].map((index) => `series-${index}`)];
    return Object.fromEntries(names.map((name) => {
      const [light, dark = light] = style.getPropertyValue(`--v-${name}`).match(/#[0-9a-f]{6}\b/gi) ?? ["#767676"];
      return [name, [light, dark]];
    }));
  }

  /** What charts take from the page, beside what each brings itself (report/charts.py) and which wins. */
  function chartConfig(palette, dark, narrow) {
    const colour = (name) => palette[name][dark ? 1 : 0];
    const words = { labelColor: colour("muted"), titleColor: colour("text") };
    // A symbol without a colour of its own would be black.
    const legend = { ...words, symbolBaseFillColor: colour("muted"), symbolBaseStrokeColor: colour("muted") };
    return {
      title: { color: colour("text") },
      axisX: { labelOverlap: true, labelSeparation: 8 },
      axis: { ...words, gridColor: colour("rule") },
      legend: narrow ? { ...legend, layout: { top: { direction: "vertical", anchor: "start", margin: 6 } } } : legend,
      header: words,
      mark: { color: colour("series-1") },
      text: { color: colour("text") },
      rule: { color: colour("edge") },
    };
  }

  /** A specification for this theme: colours that are light tokens become their dark partners. */
  function specification(text, palette, dark) {
    if (!dark) return JSON.parse(text);
    const partner = new Map(Object.values(palette).map(([light, other]) => [light.toLowerCase(), other]));
    return JSON.parse(text.replace(/#[0-9a-f]{6}(?=")/gi, (hex) => partner.get(hex.toLowerCase()) ?? hex));
  }

  /* A chart of one view takes the width of its container by itself. One of several views beside each
     other gets as many in a row as stay legible, drawn once to be measured and once to fill the row. */

  const NARROW = 560; // pixels of a chart, below which legends stand below each other
  const LEAST_PLOT = 110; // pixels of a plot beside others, below which it gets a row of its own
  const LETTER = 6.4; // pixels of an average letter of labels and titles

  /** The views that a specification puts beside each other: how many, and the pixels one needs. */
  function viewsOf(spec) {
    const given = spec.hconcat ?? spec.concat;
    if (given) return { count: given.length, least: 240 };
    const field = (spec.facet?.column ?? spec.facet)?.field;
    if (!field || spec.facet.row) return null;
    const rows = spec.data?.values ?? spec.datasets?.[spec.data?.name] ?? [];
    return { count: new Set(rows.map((row) => row[field])).size, least: 150, most: spec.columns };
  }

  /** The same views in rows of `columns`, each `width` pixels wide (its own width where none is given). */
  function arranged({ hconcat, concat, facet, columns: most, ...rest }, count, columns, width) {
    const wide = (view) => (width ? { ...view, width } : view);
    if (hconcat ?? concat) {
      const views = (hconcat ?? concat).map(wide);
      return columns < count ? { ...rest, concat: views, columns } : { ...rest, hconcat: views };
    }
    const view = wide(rest.spec);
    return columns < count || most ? { ...rest, spec: view, facet: facet.column ?? facet, columns } : { ...rest, spec: view, facet };
  }

  /** Text in lines of at most `room` pixels. */
  function lines(text, room) {
    const out = [""];
    for (const word of text.split(" ")) {
      const longer = out.at(-1) ? `${out.at(-1)} ${word}` : word;
      if (out.at(-1) && longer.length * LETTER > room) out.push(word);
      else out[out.length - 1] = longer;
    }
    return out;
  }

  /** A compiled chart whose long titles and legends break into lines where there is no room for one. */
  function broken(compiled, width, plot) {
    const isNarrow = width < NARROW;
    const banded = new Set((compiled.scales ?? []).filter(({ type }) => type === "band").map(({ name }) => name));
    const domains = new Map((compiled.scales ?? []).map(({ name, domain }) => [name, domain]));
    const menus = new Map((compiled.signals ?? []).map(({ name, bind }) => [`{${name}}`, { name, bind }]));
    const visit = (group) => {
      for (const axis of group.axes ?? []) {
        const menu = menus.get(axis.title); // a title such as "{measure}" follows that menu
        if (menu) {
          const words = Object.fromEntries(menu.bind.options.map((key, at) => [key, menu.bind.labels?.[at] ?? key]));
          axis.title = { signal: `(${JSON.stringify(words)})[${menu.name}]` };
        }
        if (isNarrow && axis.orient === "bottom" && banded.has(axis.scale)) {
          const isCrowded = (domains.get(axis.scale)?.length ?? 0) > 12;
          Object.assign(axis, { labelAngle: isCrowded ? -90 : -40, labelAlign: "right", labelBaseline: isCrowded ? "middle" : "top", labelOverlap: false });
        }
        if (isNarrow && axis.orient === "left" && axis.labelLimit > width * 0.42) axis.labelLimit = width * 0.42; // a mark's words say all
        if (axis.orient === "bottom" && typeof axis.title === "string") axis.title = lines(axis.title, plot);
      }
      for (const legend of group.legends ?? []) {
        if (isNarrow && legend.gradientLength) Object.assign(legend, { gradientLength: Math.min(Number(legend.gradientLength) || Infinity, width * 0.35), tickCount: 2 });
        const domain = domains.get(legend.fill ?? legend.stroke ?? legend.shape ?? legend.strokeDash);
        if (!Array.isArray(domain)) {
          if (isNarrow) legend.columns = 1;
          continue;
        }
        const entry = Math.max(...domain.map((name) => String(name).length)) * LETTER + 34;
        const room = isNarrow ? width * 0.55 : width; // beside the labels of the axis
        if (entry * (legend.columns ?? domain.length) > room) legend.columns = Math.max(1, Math.floor(room / entry));
      }
      for (const inner of group.marks ?? []) if (inner.type === "group") visit(inner);
    };
    visit(compiled);
    return compiled;
  }

  /** Draw a specification into `mount` at the width that it has. */
  async function draw(mount, spec, palette, dark) {
    const width = mount.clientWidth;
    const views = viewsOf(spec);
    const embed = (given, plot) => window.vegaEmbed(mount, given, {
      actions: false, renderer: "svg", defaultStyle: false, patch: (compiled) => broken(compiled, width, plot),
      config: chartConfig(palette, dark, width < NARROW), tooltip: { theme: dark ? "dark" : "light" },
    });
    if (!views?.count) return embed(spec, width * (width < NARROW ? 0.42 : 0.62));
    const most = Math.min(views.count, views.most ?? Infinity, Math.max(1, Math.floor(width / views.least)));
    const own = (spec.hconcat ?? spec.concat)?.[0].width ?? spec.spec.width;
    let columns = Math.ceil(views.count / Math.ceil(views.count / most)); // rows of the same length
    let fitting = await room(columns);
    if (fitting < LEAST_PLOT && columns > 1) fitting = await room((columns = 1));
    async function room(beside) { // for each plot, beside what stands around it
      const first = await embed(arranged(spec, views.count, beside), own);
      const spare = width - Number(mount.querySelector("svg").getAttribute("width")); // which the page may squeeze
      first.view.finalize();
      return Math.max(70, Math.floor(own + spare / beside) - 1);
    }
    return embed(arranged(spec, views.count, columns, fitting), fitting);
  }

  /** Move the words beside a mark that would stand out of the chart back into it. */
  function keepInside(svg) {
    const room = svg.getBoundingClientRect();
    for (const text of all(".mark-text.role-mark text", svg)) {
      const own = text.getBoundingClientRect();
      const out = Math.max(0, own.right - room.right) || Math.min(0, own.left - room.left);
      if (out) text.setAttribute("dx", -out);
    }
  }

  /** Let the keyboard choose in a legend as the pointer does: arrows, then Enter or Space. */
  function operableLegend(mount, view) {
    for (const legend of all(".role-legend", mount)) {
      const entries = all(".role-legend-entry .role-legend-symbol", legend).map((symbol) => symbol.parentElement);
      const name = (entry) => entry.querySelector(".role-legend-label text")?.textContent ?? "";
      const show = () => {
        const chosen = new Set(Object.values(view.signal("chosen") ?? {}).filter(Array.isArray).flat().map(String));
        for (const entry of entries) entry.setAttribute("aria-pressed", String(chosen.has(name(entry))));
      };
      legend.setAttribute("role", "toolbar");
      legend.removeAttribute("aria-roledescription");
      legend.removeAttribute("aria-hidden");
      legend.setAttribute("aria-label", "Choose in the legend");
      for (const entry of entries) {
        entry.setAttribute("role", "button");
        entry.setAttribute("aria-label", name(entry));
        entry.addEventListener("keydown", (event) => {
          if (event.key !== "Enter" && event.key !== " ") return;
          entry.querySelector(".role-legend-symbol > *").dispatchEvent(new MouseEvent("click", { bubbles: true, shiftKey: true }));
          event.preventDefault();
        });
      }
      roving(legend, "[role=button]");
      view.addSignalListener("chosen", show);
      show();
    }
  }

  /** Say in the description of a chart what its menus show. */
  function describe(mount, spec, view) {
    const menus = (spec.params ?? []).filter(({ bind }) => bind?.options);
    const said = () => {
      const chosen = menus.map(({ name, bind }) => {
        const at = bind.options.indexOf(view.signal(name));
        return ` ${bind.name ?? ""}${bind.labels?.[at] ?? view.signal(name)}.`;
      });
      const text = spec.description + chosen.join("");
      mount.setAttribute("aria-label", text);
      mount.querySelector("svg").setAttribute("aria-label", text);
    };
    for (const { name } of menus) view.addSignalListener(name, () => setTimeout(said));
    said();
  }

  async function mountChart(chart) {
    const { source } = chart.querySelector(".vitrine-spec").dataset;
    const description = chart.querySelector("img")?.alt ?? "";
    const dark = isDark();
    const palette = tokens();
    const mount = chart.querySelector(".vitrine-mount") ?? element("div", { class: "vitrine-mount" });
    try {
      const [data] = await Promise.all([dataOf(source), load(new URL("vega.js", assets)), document.fonts.load('12px "Source Sans 3"')]);
      if (!mount.isConnected) chart.append(mount);
      const spec = specification(JSON.stringify(data), palette, dark);
      if (description) {
        spec.description ??= description;
        mount.setAttribute("role", "group");
      }
      // What the reader chose stays chosen when theme or width change.
      for (const param of spec.params ?? []) if (chart.view && param.bind) param.value = chart.view.signal(param.name);
      chart.view?.finalize();
      chart.width = mount.clientWidth;
      chart.view = (await draw(mount, spec, palette, dark)).view;
      chart.classList.add("is-mounted");
      if (description) describe(mount, spec, chart.view);
      if ("chosen" in chart.view.getState().signals) operableLegend(mount, chart.view);
      keepInside(mount.querySelector("svg"));
      scrollable(mount, description);
      if (dark !== isDark()) mountChart(chart); // the theme changed meanwhile
    } catch (error) {
      mount.remove(); // the static picture stays
      chart.classList.remove("is-mounted");
      console.warn("The chart stays a picture:", error.message);
    }
  }

  function setUpCharts() {
    const charts = all(".vitrine-chart").filter((chart) => chart.querySelector(".vitrine-spec"));
    if (!charts.length) return;
    // A chart in a hidden tab has no width yet, and one that is not seen needs no Vega.
    whenSeen(charts, mountChart);

    let drawn = isDark();
    let timer = 0;
    const redraw = () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        const turned = drawn !== isDark();
        drawn = isDark();
        for (const chart of charts) {
          const width = chart.querySelector(".vitrine-mount")?.clientWidth;
          if (chart.view && width && (turned || width !== chart.width)) mountChart(chart);
        }
      }, 80);
    };
    onTheme(redraw);
    addEventListener("resize", redraw);
  }

  /* ---------- Scrolling boxes ---------- */

  /** Let the keyboard reach a box that scrolls, and only while it does. */
  function scrollable(box, label) {
    if (box.watched) return;
    box.watched = true;
    const update = () => {
      const scrolls = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
      box.classList.toggle("is-scrolling", scrolls);
      // The heads of a sortable table take the focus, and bring their columns into sight.
      if (!scrolls || box.querySelector(".vitrine-sort")) return box.removeAttribute("tabindex");
      box.tabIndex = 0;
      if (!label) return;
      if (!box.hasAttribute("role")) box.setAttribute("role", "region");
      if (!box.hasAttribute("aria-label")) box.setAttribute("aria-label", label);
    };
    new ResizeObserver(update).observe(box);
  }

  /* ---------- Tables ---------- */

  /** The number a cell shows ("83.1 %", "1,204", "−0.3", "0.41 ± 0.02", "0.29 (0.19 to 0.40)", "0.10✓"), or NaN. */
  function numberIn(text) {
    const plain = text.replace(/[\s\u00a0\u2009\u202f,]/g, "").replace(/[\u2212\u2013]/g, "-").replace(/^</, "");
    return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?(%|s|ms|pp|×|±.*)?[✓✗○]?(\(.*\))?$/i.test(plain) ? parseFloat(plain) : NaN;
  }

  const isEmpty = (text) => /^[\s\u2013\u2014-]*$/.test(text);

  function sortTable(body, original, column, direction, numeric) {
    const key = (row) => row.cells[column]?.textContent.trim() ?? "";
    const compare = (a, b) => {
      const [one, other] = [key(a), key(b)];
      if (isEmpty(one) || isEmpty(other)) return isEmpty(one) - isEmpty(other); // always last
      const order = numeric ? numberIn(one) - numberIn(other)
        : one.localeCompare(other, root.lang, { numeric: true, sensitivity: "base" });
      return direction === "descending" ? -order : order;
    };
    body.append(...(direction === "none" ? original : [...original].sort(compare)));
  }

  function makeSortable(table) {
    const heads = [...(table.tHead?.rows[table.tHead.rows.length - 1]?.cells ?? [])];
    const body = table.tBodies[0];
    if (!body || body.rows.length < 2) return;
    const original = [...body.rows];
    if ([...heads, ...original.flatMap((row) => [...row.cells])].some((cell) => cell.colSpan > 1 || cell.rowSpan > 1)) return;
    heads.forEach((head, column) => {
      if (!head.textContent.trim()) return;
      const texts = original.map((row) => row.cells[column]?.textContent.trim() ?? "").filter((text) => !isEmpty(text));
      const numeric = texts.length > 0 && !texts.some((text) => Number.isNaN(numberIn(text)));
      // A mark or an interval behind the number would move its digits from those above.
      if (numeric && !texts.some((text) => /[✓✗○(]/.test(text))) for (const cell of [head, ...original.map((row) => row.cells[column])]) cell?.classList.add("is-numeric");
      // An arrow stays with the word before it.
      for (const node of head.childNodes) if (node.nodeType === Node.TEXT_NODE) node.data = node.data.replace(/ (?=[\u2191\u2193]$)/, "\u00a0");
      const button = element("button", { type: "button", class: "vitrine-sort" }, ...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const turns = numeric ? ["descending", "ascending", "none"] : ["ascending", "descending", "none"];
        const now = turns[(turns.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
        for (const other of heads) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", now);
        sortTable(body, original, column, now, numeric);
      });
    });
  }

  function setUpTables() {
    for (const table of all(".vitrine-table table, .vitrine-page .page-text table")) {
      const caption = table.closest("figure")?.querySelector("figcaption") ?? table.caption;
      const box = element("div", { class: "vitrine-scroll" });
      table.replaceWith(box);
      box.append(table);
      const wordy = all("td", table).some((cell) => cell.textContent.length > 90);
      if (wordy) { // a row of them becomes a paragraph of its cells on a narrow screen
        const heads = all("thead th", table).map((head) => head.textContent.trim());
        for (const row of table.tBodies[0].rows) [...row.cells].forEach((cell, at) => { cell.dataset.title = heads[at] ?? ""; });
        box.classList.add("is-wordy");
      }
      scrollable(box, caption?.textContent.trim() ?? "Table");
      const shell = box.closest(".vitrine-table");
      if (shell) {
        shell.classList.add("is-ready");
        makeSortable(table);
      }
    }
  }

  /* ---------- Explorers, viewers and galleries, each with a script of its own ---------- */

  /** Let `start` take over a part of the page once its script is there; else the part stays as it is. */
  async function takeOver(part, script, start) {
    try {
      await load(new URL(script, assets));
      await start();
    } catch (error) {
      part.classList.add("is-failed");
      console.warn(`What ${script} would replace stays:`, error.message);
    }
  }

  function setUpExplorers() {
    const explorers = new Map(all(".vitrine-explorer").map((explorer) => [explorer, explorer.querySelector("[data-source]").dataset]));
    const started = new Set();
    const start = (explorer) => {
      if (started.has(explorer)) return;
      started.add(explorer);
      const { name, source, label } = explorers.get(explorer);
      const rows = dataOf(source);
      takeOver(explorer, "explorer.js", async () => window.vitrineExplorer(explorer, name, label, await rows));
    };
    // Rows are loaded for who comes near them, or asks for them in the address.
    const asked = () => {
      for (const [explorer, { name }] of explorers) if (location.hash.slice(1).split("?")[0] === name) start(explorer);
    };
    whenSeen([...explorers.keys()], start);
    addEventListener("hashchange", asked);
    asked();
  }

  function setUpViewers() {
    const viewers = all(".vitrine-viewer:has(> .vitrine-views)");
    for (const viewer of viewers) takeOver(viewer, "viewer.js", () => window.vitrineViewer(viewer, load));
    for (const gallery of all(".vitrine-gallery")) {
      takeOver(gallery, "gallery.js", () => window.vitrineGallery(gallery, JSON.parse(gallery.querySelector(".vitrine-units").textContent)));
    }
  }

  /* ---------- The line under each figure and table: source, data, permalink ---------- */

  function setUpLines() {
    // The address of the repository stands in the header of either renderer, if it is known.
    const repository = document.querySelector("a[data-repository], a.quarto-navigation-tool[title='Source Code']")?.href.replace(/\/$/, "");
    for (const module of repository ? all(".vitrine-module") : []) {
      const link = element("a", { href: `${repository}/tree/HEAD/code/vitrine/${module.textContent}` });
      module.replaceWith(link);
      link.append(module);
    }
    const told = document.querySelector("[data-lines]")?.dataset;
    if (!told) return;
    for (const [id, line] of Object.entries(JSON.parse(told.lines))) {
      const float = document.getElementById(id);
      if (!float) continue;
      const name = float.querySelector("figcaption[class*='quarto']")?.textContent.match(/^\s*(\w+\s[\w.]+)/)?.[1] ?? id;
      const place = `${told.source}, line ${line}`;
      const source = repository
        ? element("a", { href: `${repository}/blob/HEAD/${told.source}#L${line}` }, place)
        : element("span", {}, place);
      const below = element("p", { class: "vitrine-line", role: "toolbar", "aria-label": `Source of ${name}` }, element("span", {}, "Source: ", source));
      for (const link of all("a.vitrine-download", float)) {
        const left = link.parentElement;
        below.append(link);
        if (!left.textContent.trim()) left.remove();
      }
      below.append(element("a", { href: `#${id}`, "aria-label": `Permalink to ${name}` }, "Permalink"));
      float.append(below);
    }
  }

  /* ---------- Enlarged pictures ---------- */

  function setUpZoom() {
    if (!document.querySelector(".vitrine-zoom")) return;
    let dialog, image, caption, count, links, index, opener;

    function build() {
      image = element("img", { alt: "" });
      caption = element("figcaption");
      count = element("output", { "aria-live": "polite" });
      const button = (label, text, key, value) => element("button", { type: "button", "aria-label": label, title: label, [key]: value }, text);
      dialog = element("dialog", { class: "vitrine-lightbox", "aria-label": "Enlarged picture" },
        count, button("Close", "\u00d7", "data-close", ""),
        element("figure", {}, image, caption),
        button("Previous picture", "\u2190", "data-step", "-1"),
        button("Next picture", "\u2192", "data-step", "1"));
      dialog.addEventListener("click", ({ target }) => {
        const pressed = target.closest("button");
        if (pressed?.dataset.step) show(index + Number(pressed.dataset.step));
        else if (target !== image && !target.closest("figcaption")) dialog.close();
      });
      dialog.addEventListener("keydown", (event) => {
        const to = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: links.length - 1 }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        show(to);
      });
      dialog.addEventListener("close", () => {
        image.removeAttribute("src");
        opener?.focus();
      });
      document.body.append(dialog);
    }

    function show(to) {
      index = (to + links.length) % links.length;
      const thumbnail = links[index].querySelector("img");
      opener = links[index]; // focus returns to the picture that was seen last
      image.src = links[index].href;
      image.alt = thumbnail?.alt ?? "";
      image.style.setProperty("--natural", thumbnail?.getAttribute("height") ?? "");
      caption.textContent = image.alt;
      count.textContent = links.length > 1 ? `${index + 1} of ${links.length}` : "";
      for (const step of all("[data-step]", dialog)) step.hidden = links.length < 2;
      // The neighbours are fetched ahead, so that arrow keys answer at once.
      for (const near of [1, -1]) new Image().src = links[(index + near + links.length) % links.length].href;
    }

    document.addEventListener("click", (event) => {
      const link = event.target.closest?.(".vitrine-zoom");
      if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      if (!dialog) build();
      const group = link.closest("figure:not(.vitrine-card)") ?? link.closest(".vitrine-grid, .vitrine-card") ?? link.parentElement;
      links = all(".vitrine-zoom", group);
      show(links.indexOf(link));
      dialog.showModal();
    });
  }

  /* ---------- One stop of the Tab key for each figure and table ---------- */

  const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  const STOPS = ".code-fold > summary, .vitrine-zoom, .vitrine-sort, .vitrine-row-link, .vitrine-explorer-pager button, .vitrine-table td a, .vitrine-line a";

  /** Within `group` the arrow keys, Home and End lead from one of its `stops` to the next. */
  function roving(group, stops = STOPS) {
    const items = () => all(stops, group).filter((item) => item.checkVisibility() && !item.disabled);
    const stop = (chosen) => { for (const item of all(stops, group)) item.tabIndex = item === chosen ? 0 : -1; };
    group.addEventListener("focusin", ({ target }) => { if (target.matches(stops)) stop(target); });
    group.addEventListener("keydown", (event) => {
      const all = items();
      const at = all.indexOf(event.target);
      const to = { Home: 0, End: all.length - 1 }[event.key] ?? at + STEPS[event.key];
      if (at < 0 || Number.isNaN(to)) return;
      event.preventDefault();
      all[Math.min(Math.max(to, 0), all.length - 1)].focus();
    });
    const renew = () => {
      const all = items(); // a table that scrolls must be reached: its first head is the stop
      if (all.filter((item) => item.tabIndex === 0).length !== 1) stop(all.find((item) => item.matches(".vitrine-sort")) ?? all[0]);
    };
    renew();
    new MutationObserver(renew).observe(group, { childList: true, subtree: true });
  }

  function setUpRoving() {
    const parts = all(".vitrine-grid, .vitrine-table, .vitrine-explorer, .vitrine-line");
    for (const group of new Set(parts.map((part) => part.closest(".cell") ?? part.closest(".quarto-float") ?? part))) roving(group);
  }

  /* ---------- Pages of the bundled renderer ---------- */

  function setUpMenu() {
    const button = document.querySelector("[data-menu]");
    const nav = button && document.getElementById(button.getAttribute("aria-controls"));
    if (!nav) return;
    const set = (open) => {
      nav.classList.toggle("is-open", open);
      button.setAttribute("aria-expanded", String(open));
    };
    const isOpen = () => nav.classList.contains("is-open");
    button.addEventListener("click", () => set(!isOpen()));
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !isOpen()) return;
      set(false);
      button.focus();
    });
    for (const kind of ["click", "focusin"]) {
      document.addEventListener(kind, ({ target }) => {
        if (isOpen() && target instanceof Element && !nav.contains(target) && !button.contains(target)) set(false);
      });
    }
  }

  /** The list of sections: beside the text with a mark on the current one, or folded below the title. */
  function setUpContents() {
    const toc = document.querySelector(".page-toc");
    if (!toc) return;
    const side = toc.parentElement;
    const title = toc.querySelector("h2");
    const list = toc.querySelector("ul");
    const fold = element("details", {}, element("summary", {}, title.textContent));
    const head = document.getElementById("title-block-header");
    const targets = all("a", toc).map((link) => [link, document.getElementById(decodeURIComponent(link.hash.slice(1)))])
      .filter(([, target]) => target);
    const wide = all(".page-text :is(.column-page, .column-screen, .column-screen-inset, .column-margin, .aside)");

    const place = () => {
      const beside = getComputedStyle(side).display !== "none";
      if (beside === !toc.classList.contains("is-inline")) return;
      toc.classList.toggle("is-inline", !beside);
      if (beside) {
        toc.append(title, list);
        fold.remove();
        side.append(toc);
      } else if (head) {
        fold.append(list);
        title.remove();
        toc.removeAttribute("aria-labelledby");
        toc.setAttribute("aria-label", title.textContent);
        toc.append(fold);
        head.after(toc);
      }
    };
    const mark = () => {
      const line = innerHeight * 0.25;
      const atEnd = innerHeight + scrollY >= root.scrollHeight - 2;
      const passed = targets.filter(([, target]) => target.getBoundingClientRect().top <= line);
      const current = (atEnd ? targets : passed).at(-1)?.[0];
      for (const [link] of targets) {
        if (link === current) link.setAttribute("aria-current", "location");
        else link.removeAttribute("aria-current");
      }
      const own = toc.getBoundingClientRect();
      const covered = !toc.classList.contains("is-inline") && wide.some((block) => {
        const box = block.getBoundingClientRect();
        return box.right > own.left && box.top < own.bottom && box.bottom > own.top;
      });
      toc.classList.toggle("is-covered", covered);
    };
    const update = perFrame(() => { place(); mark(); });
    addEventListener("scroll", update, { passive: true });
    addEventListener("resize", update);
    new ResizeObserver(update).observe(document.querySelector(".page-text"));
  }

  function setUpTabs() {
    for (const tabset of all(".panel-tabset")) {
      const list = tabset.querySelector(":scope > [role=tablist]");
      const tabs = list ? all("[role=tab]", list) : [];
      const panels = tabs.map((tab) => document.getElementById(tab.getAttribute("aria-controls")));
      if (!tabs.length || panels.includes(null)) continue;
      const choose = (index, focus) => {
        tabs.forEach((tab, i) => {
          tab.setAttribute("aria-selected", String(i === index));
          tab.tabIndex = i === index ? 0 : -1;
          tab.classList.toggle("active", i === index);
          panels[i].classList.toggle("active", i === index);
        });
        if (focus) tabs[index].focus();
      };
      const holding = (hash) => {
        const target = hash.length > 1 && document.getElementById(decodeURIComponent(hash.slice(1)));
        return target ? panels.findIndex((panel) => panel.contains(target)) : -1;
      };
      tabs.forEach((tab, index) => {
        panels[index].dataset.title = tab.textContent;
        tab.addEventListener("click", (event) => { event.preventDefault(); choose(index); });
        tab.addEventListener("keydown", (event) => {
          const last = tabs.length - 1;
          const to = { ArrowLeft: index ? index - 1 : last, ArrowRight: index < last ? index + 1 : 0, Home: 0, End: last, " ": index }[event.key];
          if (to === undefined) return;
          event.preventDefault();
          choose(to, true);
        });
      });
      tabset.classList.add("is-ready");
      choose(Math.max(0, holding(location.hash)));
      // A link into a hidden panel shows that panel.
      addEventListener("hashchange", () => {
        const index = holding(location.hash);
        if (index < 0) return;
        choose(index);
        document.getElementById(decodeURIComponent(location.hash.slice(1))).scrollIntoView();
      });
    }
  }

  function setUpCode() {
    for (const block of all("div.sourceCode")) {
      const code = block.querySelector("code");
      const button = element("button", { type: "button", class: "copy-code", "aria-label": "Copy the code" }, "Copy");
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(code.innerText.trimEnd());
          button.textContent = "Copied";
        } catch {
          getSelection().selectAllChildren(code); // no clipboard here: leave it selected
          button.textContent = "Selected";
        }
        button.classList.add("is-done");
        setTimeout(() => { button.textContent = "Copy"; button.classList.remove("is-done"); }, 1600);
      });
      block.append(button);
    }
    all("pre").forEach((pre, place) => scrollable(pre, `Code ${place + 1}`)); // names are unique
    for (const formula of all("math[display=block]")) scrollable(formula);
  }

  function setUpHeadings() {
    for (const heading of all(".page-text :is(h2, h3, h4)")) {
      const id = heading.id || heading.closest("section")?.id;
      if (id) heading.append(element("a", { class: "heading-link", href: `#${id}`, "aria-label": "Link to this section", tabindex: "-1" }, "#"));
    }
  }

  /* ---------- Search ---------- */

  /** Lower case without accents, letter for letter, so that positions stay those of the text. */
  const folded = (text) => [...text].map((letter) => {
    const plain = letter.normalize("NFD")[0].toLowerCase();
    return plain.length === letter.length ? plain : letter;
  }).join("");

  function prepared(entries) {
    return entries.map((entry) => ({
      ...entry,
      foldedText: folded(entry.text), foldedSection: folded(entry.section), foldedTitle: folded(entry.title),
    }));
  }

  /** Sections that hold every word, best first: in a heading counts more than in the text. */
  function find(entries, query) {
    const words = folded(query).split(/\s+/).filter(Boolean);
    if (!words.length) return [];
    const found = [];
    for (const entry of entries) {
      let score = 0;
      const hasAll = words.every((word) => {
        const times = entry.foldedText.split(word).length - 1;
        const points = (entry.foldedSection.includes(word) ? 12 : 0) + (entry.foldedTitle.includes(word) ? (entry.section ? 3 : 14) : 0) + Math.min(times, 6);
        score += points;
        return points > 0;
      });
      if (entry.foldedSection === words.join(" ")) score += 100; // "table 6.1" is that table
      if (hasAll) found.push({ entry, score, words });
    }
    return found.sort((a, b) => b.score - a.score).slice(0, 24);
  }

  /** Text with the words marked. */
  function marked(text, words) {
    const plain = folded(text);
    const out = document.createDocumentFragment();
    let at = 0;
    while (at < text.length) {
      const next = words.map((word) => [plain.indexOf(word, at), word.length]).filter(([start]) => start >= 0).sort((a, b) => a[0] - b[0] || b[1] - a[1])[0];
      if (!next) break;
      out.append(text.slice(at, next[0]), element("mark", {}, text.slice(next[0], next[0] + next[1])));
      at = next[0] + next[1];
    }
    out.append(text.slice(at));
    return out;
  }

  function excerpt({ entry, words }) {
    const first = Math.max(0, Math.min(...words.map((word) => entry.foldedText.indexOf(word)).filter((start) => start >= 0), Infinity));
    if (!Number.isFinite(first)) return entry.text.slice(0, 150);
    const start = first < 60 ? 0 : entry.text.indexOf(" ", first - 60) + 1;
    return (start ? "… " : "") + entry.text.slice(start, start + 170) + (start + 170 < entry.text.length ? " …" : "");
  }

  function setUpSearch() {
    const button = document.querySelector("[data-search]");
    if (!button) return;
    let dialog, input, list, status, entries, chosen = -1;

    function build() {
      input = element("input", { type: "search", placeholder: "Search the report", "aria-label": "Search the report", autocomplete: "off", spellcheck: "false",
        role: "combobox", "aria-expanded": "false", "aria-controls": "search-results", "aria-autocomplete": "list" });
      list = element("ul", { class: "search-results", id: "search-results", role: "listbox", "aria-label": "Sections" });
      status = element("p", { class: "search-status", role: "status" });
      const close = element("button", { type: "button", "aria-label": "Esc: close the search" }, "Esc");
      dialog = element("dialog", { class: "search-dialog", "aria-label": "Search" },
        element("div", { class: "search-head" }, element("span", { class: "icon icon-search" }), input, close), list, status);
      close.addEventListener("click", () => dialog.close());
      dialog.addEventListener("click", ({ target }) => { if (target === dialog) dialog.close(); });
      dialog.addEventListener("close", () => button.focus());
      input.addEventListener("input", update);
      input.addEventListener("keydown", (event) => {
        const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
        const count = options().length;
        if (step && count) {
          event.preventDefault();
          choose((chosen + step + count) % count);
        } else if (event.key === "Enter" && count) {
          event.preventDefault();
          options()[Math.max(chosen, 0)].click();
        } else if (event.key === "Escape") {
          event.preventDefault(); // a search field would only empty itself
          dialog.close();
        }
      });
      list.addEventListener("click", ({ target }) => { if (target.closest("a")) dialog.close(); });
      document.body.append(dialog);
    }

    const options = () => all("[role=option]", list);

    function choose(index) {
      chosen = index;
      options().forEach((option, i) => {
        option.setAttribute("aria-selected", String(i === index));
        if (i === index) option.scrollIntoView({ block: "nearest" });
      });
      if (index < 0) input.removeAttribute("aria-activedescendant");
      else input.setAttribute("aria-activedescendant", `search-result-${index}`);
    }

    function update() {
      if (!entries) return;
      const results = find(entries, input.value);
      list.replaceChildren(...results.map((result, index) => {
        const { entry, words } = result;
        const where = element("span", { class: "search-where" }, marked(entry.section || entry.title, words));
        if (entry.section) where.prepend(element("span", { class: "search-page" }, `${entry.title} › `));
        return element("li", { role: "presentation" }, element("a", {
          href: new URL(`../${entry.href}`, assets).href, role: "option", id: `search-result-${index}`, "aria-selected": "false", tabindex: "-1",
        }, where, element("span", { class: "search-excerpt" }, marked(excerpt(result), words))));
      }));
      list.hidden = !results.length;
      input.setAttribute("aria-expanded", String(results.length > 0));
      choose(results.length ? 0 : -1);
      const count = results.length === 1 ? "1 section" : `${results.length} sections`;
      status.textContent = !input.value.trim() ? "Words in any order; ↑ ↓ to choose, Enter to go there."
        : results.length ? count : "Nothing found. Fewer or shorter words may help.";
    }

    async function open() {
      if (!dialog) build();
      dialog.showModal();
      input.select();
      try {
        await load(new URL("../search.js", assets));
        entries ??= prepared(window.VITRINE_SEARCH);
        update();
      } catch {
        status.textContent = "The search index could not be loaded.";
      }
    }

    button.addEventListener("click", open);
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      open();
    });
  }

  /* ---------- Contents of Quarto's narrow pages, which it leaves away ---------- */

  function setUpNarrowContents() {
    const list = document.querySelector("nav#TOC > ul");
    const title = document.querySelector("main h1")?.closest("#title-block-header") ?? document.querySelector("main h1");
    if (!list || !title) return;
    const copy = list.cloneNode(true);
    for (const link of all("[id], [data-scroll-target]", copy)) {
      link.removeAttribute("id");
      link.classList.remove("active", "nav-link");
    }
    title.after(element("details", { class: "vitrine-contents" }, element("summary", {}, "On this page"), copy));
  }

  /* ---------- Quarto's wide charts ---------- */

  /** Quarto gives the width of a chart's column to its picture, in whose place the live chart comes: the
      chart has it instead, and Quarto sees where the chart covers the list of sections. */
  function setUpWideCharts() {
    for (const image of all(".vitrine-chart img[class*='column-']")) {
      const chart = image.closest(".vitrine-chart");
      const wide = [...image.classList].filter((name) => name.startsWith("column-"));
      image.classList.remove(...wide);
      for (let inner = image.parentElement; inner !== chart; inner = inner.parentElement) {
        inner.classList.remove("page-columns", "page-full");
      }
      chart.classList.remove("page-columns", "page-full");
      chart.classList.add(...wide);
    }
  }

  /* ---------- Start ---------- */

  function start() {
    setUpLines();
    setUpWideCharts(); // before Quarto looks for what is wide, and before a chart is drawn
    setUpCharts();
    setUpZoom();
    setUpTables();
    setUpExplorers();
    setUpViewers();
    setUpRoving();
    if (document.body.classList.contains("vitrine-page")) {
      setUpTheme();
      setUpMenu();
      setUpContents();
      setUpTabs();
      setUpCode();
      setUpHeadings();
      setUpSearch();
      // Paper has no folds to open.
      addEventListener("beforeprint", () => all("details.callout").forEach((callout) => { callout.open = true; }));
    } else setUpNarrowContents();
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
