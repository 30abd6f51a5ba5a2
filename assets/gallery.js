/* vitrine: the gallery of units. Loaded by vitrine.js where a page holds a `.vitrine-gallery`.
 *
 * Every state has an address: #network/layer?q=text&significant=yes for the units of a layer (text in
 * double quotes is a whole label), and #network/layer/unit for one unit. Units, names and labels come
 * from scripts of the same site (fetch() does not read file://), images from sheets of thumbnails;
 * each is loaded when it is first needed. Without JavaScript the page shows a few units instead.
 */
(() => {
  "use strict";

  const PAGE = 24;
  const GAP = 2;
  const BINS = 16;

  const { element, dataOf } = window.vitrine;

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  /** A row of a layer's file as an object; `null` for a unit that responds to every image alike. */
  function unitOf(row, unit, words) {
    if (!row) return { unit, label: "responds to every image alike", similarity: -Infinity, significant: false, images: [], constant: true };
    const [labels, similarity, q, significant, images, histogram, fired, start, exponent] = row;
    const [label, ...others] = labels.map((place) => words[place]);
    return { unit, label, others, similarity, q, significant: Boolean(significant), images, histogram, fired, start, exponent };
  }

  function setUp(gallery, head) {
    const { layers, tile, across } = head;
    const state = { layer: head.first, words: "", part: "", unit: null, shown: PAGE };
    const url = (file) => new URL(file, document.baseURI);

    /* ---------- Data, loaded once ---------- */

    const known = new Map();
    async function unitsOf(place) {
      if (!known.has(place)) {
        const { words, rows } = await dataOf(layers[place].data);
        known.set(place, rows.map((row, unit) => unitOf(row, unit, words)));
      }
      return known.get(place);
    }

    const sheets = new Map();
    function sheet(number) {
      if (!sheets.has(number)) {
        const image = new Image();
        image.src = url(head.sheets[number]);
        sheets.set(number, image.decode().then(() => image));
      }
      return sheets.get(number);
    }

    /* ---------- Addresses ---------- */

    const pathOf = (place, unit) =>
      [layers[place].network, layers[place].name, ...(unit === undefined ? [] : [unit])].map(encodeURIComponent).join("/");

    function addressOf(unit) {
      const query = new URLSearchParams();
      if (state.words) query.set("q", state.words);
      if (state.part) query.set("significant", state.part);
      return `#${pathOf(state.layer, unit)}${query.size ? `?${query}` : ""}`;
    }

    /** Take over what the address asks for; whether it asks for anything here. */
    function obey() {
      const [path, query] = location.hash.slice(1).split("?");
      const parts = path.split("/").map(decodeURIComponent);
      const place = layers.findIndex((layer) => layer.network === parts[0] && layer.name === parts[1]);
      if (place < 0) return false;
      const asked = new URLSearchParams(query ?? "");
      const unit = parts.length > 2 ? Number(parts[2]) : null;
      Object.assign(state, {
        layer: place, words: asked.get("q") ?? "", part: asked.get("significant") ?? "", shown: PAGE,
        unit: Number.isInteger(unit) && unit >= 0 && unit < layers[place].units ? unit : null,
      });
      return true;
    }

    /* ---------- Drawing ---------- */

    /** An image of the sheets at (x, y), dark but for the cells in which the unit is active. */
    async function drawTile(context, unit, rank, x, y, side, { cells, frame }) {
      const place = unit.images[rank];
      if (place < 0) return;
      const image = await sheet(Math.floor(place / across ** 2));
      const within = place % across ** 2;
      context.drawImage(image, (within % across) * tile, Math.floor(within / across) * tile, tile, tile, x, y, side, side);
      if (!cells) return;
      const [rows, columns] = cells;
      const bits = bytes(unit.fired);
      const shade = new Path2D();
      shade.rect(x, y, side, side);
      const inset = side * (1 - frame) / 2;
      for (let row = 0; row < rows; row += 1) {
        for (let column = 0; column < columns; column += 1) {
          const bit = (rank * rows + row) * columns + column;
          if (!(bits[bit >> 3] & (128 >> (bit & 7)))) continue;
          const [left, right] = [column, column + 1].map((edge) => Math.round(x + inset + edge * side * frame / columns));
          const [top, bottom] = [row, row + 1].map((edge) => Math.round(y + inset + edge * side * frame / rows));
          shade.rect(left, top, right - left, bottom - top);
        }
      }
      context.fillStyle = "rgb(0 0 0 / .6)";
      context.fill(shade, "evenodd");
    }

    /** Canvases are drawn when they come near the screen, so that no sheet is loaded in vain. */
    const near = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        near.unobserve(target);
        target.draw();
      }
    }, { rootMargin: "100px" });

    function canvas(width, height, draw) {
      const made = element("canvas", { width, height, "aria-hidden": "true" });
      made.draw = () => draw(made.getContext("2d"));
      near.observe(made);
      return made;
    }

    const imagesOf = (unit, layer) => canvas(3 * tile + 2 * GAP, 3 * tile + 2 * GAP, (context) =>
      unit.images.forEach((_, rank) =>
        drawTile(context, unit, rank, (rank % 3) * (tile + GAP), Math.floor(rank / 3) * (tile + GAP), tile, layer)));

    const number = (value, digits = 3) => Number(value.toPrecision(digits)).toString().replace("-", "−");

    function histogramOf(unit) {
      const raw = bytes(unit.histogram);
      const counts = Array.from({ length: BINS }, (_, bin) => raw[2 * bin] + 256 * raw[2 * bin + 1]);
      const most = Math.max(...counts);
      const edge = (bin) => number((unit.start + bin) * 2 ** unit.exponent);
      const bars = counts.map((images, bin) => {
        const bar = element("span", { title: `${images} images from ${edge(bin)} to ${edge(bin + 1)}` });
        bar.style.height = `${100 * Math.sqrt(images / most)}%`;
        return bar;
      });
      return element("figure", { class: "vitrine-histogram" },
        element("div", { role: "img", "aria-label": `Histogram of the unit's activations from ${edge(0)} to ${edge(BINS)}` }, ...bars),
        element("figcaption", {}, element("span", {}, edge(0)), element("span", {}, "activation on all images (root of their number)"), element("span", {}, edge(BINS))));
    }

    /* ---------- One unit ---------- */

    async function detailOf(unit, layer) {
      const title = element("h3", { tabindex: "-1" }, unit.label);
      const close = element("a", { href: addressOf(), class: "vitrine-close" }, "Close");
      const where = element("p", { class: "vitrine-where" }, `${layer.title} · ${layer.name} · unit ${unit.unit}`);
      const box = element("section", { class: "vitrine-unit", "aria-label": `Unit ${unit.unit}` }, element("header", {}, title, close), where);
      if (unit.constant) return box;
      const [names, labels] = await Promise.all([dataOf(head.names), dataOf(head.labels)]);
      const side = 2 * tile;
      const images = unit.images.map((place, rank) => place < 0 ? "" : element("figure", {},
        canvas(side, side, (context) => drawTile(context, unit, rank, 0, 0, side, layer)),
        element("figcaption", {}, names[place])));
      const facts = element("dl", {});
      const fact = (name, ...value) => facts.append(element("div", {}, element("dt", {}, name), element("dd", {}, ...value)));
      fact("Similarity", unit.similarity.toFixed(3));
      fact("q-value", unit.q < 0.001 ? "< 0.001" : unit.q.toFixed(3), unit.significant ? ", significant" : ", not significant");
      fact("Runners-up", unit.others.join(", "));
      const alike = (labels[unit.label] ?? []).filter(([place, other]) => place !== state.layer || other !== unit.unit);
      // Other networks first, as it is them that the same label is of interest in.
      alike.sort((a, b) => (layers[a[0]].title === layer.title) - (layers[b[0]].title === layer.title));
      const links = alike.slice(0, 6).flatMap(([place, other], index) => [
        index ? "; " : "",
        element("a", { href: `#${pathOf(place, other)}` }, `${layers[place].title}, ${layers[place].name}, unit ${other}`)]);
      fact("Same label", ...(links.length ? links : ["no other unit"]), alike.length > 6 ? ` and ${alike.length - 6} more` : "");
      box.append(element("div", { class: "vitrine-unit-images" }, ...images), element("div", { class: "vitrine-unit-facts" }, facts, histogramOf(unit)));
      return box;
    }

    /* ---------- Controls and grid ---------- */

    const titles = [...new Map(layers.map((layer) => [layer.network, layer.title]))];
    const option = (value, text) => element("option", { value }, text);
    const network = element("select", { "aria-label": "Network" }, ...titles.map(([key, title]) => option(key, title)));
    const layerChoice = element("select", { "aria-label": "Layer" });
    const part = element("select", { "aria-label": "Significance" }, option("", "All units"), option("yes", "Significant label"), option("no", "Label not significant"));
    const search = element("input", { type: "search", placeholder: "Search the labels", "aria-label": "Search the labels", autocomplete: "off" });
    const count = element("output", { "aria-live": "polite" });
    const detail = element("div", { class: "vitrine-unit-place" });
    const grid = element("ul", { class: "vitrine-units-grid", "aria-label": "Units of the layer" });
    const more = element("button", { type: "button", class: "vitrine-more" }, "More units");

    function choose(changes) {
      Object.assign(state, { unit: null, shown: PAGE }, changes);
      history.replaceState(null, "", addressOf());
      update();
    }
    network.addEventListener("change", () => choose({ layer: layers.findIndex((layer) => layer.network === network.value), words: "" }));
    layerChoice.addEventListener("change", () => choose({ layer: Number(layerChoice.value) }));
    part.addEventListener("change", () => choose({ part: part.value }));
    let timer = 0;
    search.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => choose({ words: search.value }), 150);
    });

    function matches({ label, significant, constant }) {
      const words = state.words.trim().toLowerCase();
      const exact = /^"(.*)"$/.exec(words);
      const named = !words || (!constant && (exact ? label.toLowerCase() === exact[1] : label.toLowerCase().includes(words)));
      return named && (!state.part || (!constant && significant === (state.part === "yes")));
    }

    function cardOf(unit, layer) {
      const said = unit.constant ? "" : `${unit.similarity.toFixed(2)}${unit.significant ? " · significant" : ""}`;
      const link = element("a", {
        href: addressOf(unit.unit), tabindex: "-1", class: unit.significant ? "is-significant" : "",
        ...(unit.unit === state.unit ? { "aria-current": "true" } : {}),
      }, imagesOf(unit, layer), element("b", {}, unit.label), element("span", {}, `unit ${unit.unit}${said ? ` · ${said}` : ""}`));
      return element("li", {}, link);
    }

    // One stop for the whole grid: arrows go on from card to card.
    grid.addEventListener("keydown", (event) => {
      const cards = [...grid.querySelectorAll("a")];
      const at = cards.indexOf(document.activeElement);
      const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
      const next = event.key === "Home" ? 0 : event.key === "End" ? cards.length - 1 : at + step;
      if (at < 0 || !cards[next]) return;
      event.preventDefault();
      cards[at].tabIndex = -1;
      cards[next].tabIndex = 0;
      cards[next].focus();
    });

    let turn = 0;
    async function update() {
      turn += 1;
      const mine = turn;
      const layer = layers[state.layer];
      network.value = layer.network;
      layerChoice.replaceChildren(...layers.flatMap((one, place) => one.network === layer.network ? [option(place, `${one.name} (${one.units.toLocaleString("en")})`)] : []));
      layerChoice.value = state.layer;
      part.value = state.part;
      if (document.activeElement !== search) search.value = state.words;
      const units = await unitsOf(state.layer);
      const opened = state.unit === null ? null : await detailOf(units[state.unit], layer);
      if (mine !== turn) return;
      const kept = units.filter(matches).sort((a, b) => b.similarity - a.similarity || a.unit - b.unit);
      count.textContent = `${kept.length.toLocaleString("en")} of ${units.length.toLocaleString("en")} units`;
      detail.replaceChildren(...(opened ? [opened] : []));
      near.disconnect();
      grid.replaceChildren(...kept.slice(0, state.shown).map((unit) => cardOf(unit, layer)));
      for (const made of gallery.querySelectorAll("canvas")) near.observe(made);
      const first = grid.querySelector("[aria-current]") ?? grid.querySelector("a");
      if (first) first.tabIndex = 0;
      more.hidden = kept.length <= state.shown;
      more.textContent = `More units (${(kept.length - state.shown).toLocaleString("en")} left)`;
      gallery.dataset.state = addressOf(state.unit ?? undefined);
      if (opened) {
        opened.scrollIntoView({ block: "nearest" });
        opened.querySelector("h3").focus({ preventScroll: true });
      }
    }
    more.addEventListener("click", async () => {
      const before = state.shown;
      state.shown += PAGE;
      state.unit = null;
      await update();
      grid.querySelectorAll("a")[before]?.focus();
    });

    const asked = obey();
    gallery.replaceChildren(
      element("div", { class: "vitrine-explorer-controls" }, network, layerChoice, part, search, count), detail, grid, more);
    gallery.classList.add("is-ready");
    update().then(() => { if (asked && state.unit === null) gallery.scrollIntoView(); });
    addEventListener("hashchange", () => { if (obey()) update(); });
  }

  window.vitrineGallery = setUp;
})();
