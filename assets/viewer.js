/* vitrine: one image, the regions of two methods on it and how far they agree, computed as one looks.
 *
 * Loaded by vitrine.js where a page holds a `.vitrine-viewer`, whose JSON says which images, methods
 * and rules there are. The maps of a method are a script of the same site (a script, because fetch()
 * does not read file://) that sets window.VITRINE_MAPS[NUMBER] to one entry an image. A map is sent as
 * levels on 8 bits, cut where a region can end (vitrine/report/viewer.py). The address holds the view.
 */
(() => {
  "use strict";

  const SIDE = 896; // pixels of the canvas
  const ORANGE = [213, 94, 0], BLUE = [0, 114, 178]; // as report/figures.py has them
  const SVG = "http://www.w3.org/2000/svg";

  const { element } = window.vitrine;

  const number = (value, digits = 2) => (Number.isFinite(value) ? window.vitrine.number(value, digits) : "–");
  const percent = (share) => (share > 0 && share < 0.005 ? "<1%" : `${Math.round(100 * share)}%`);
  const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : NaN);

  /* ---------- Maps, regions and IoU, as vitrine/measures/agreement.py defines them ---------- */

  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  /** The maps of a method, one an image, with their levels as arrays. */
  const ready = (maps) => Promise.all(maps.map(async (map) => (map.levels
    ? { ...map, levels: await unpacked(map.levels), sizes: map.sizes ? await unpacked(map.sizes) : null } : map)));

  /** The strongest pixels that cover `share` of a map's levels, those on the last level in part; how
   *  much of a pixel on each level belongs to the region, from 0 to 1, are its weights. */
  function topRegion(levels, share) {
    const counts = new Uint32Array(256);
    for (const level of levels) counts[level] += 1;
    const wanted = share * levels.length;
    let above = 0, level = 255;
    while (level > 0 && above + counts[level] < wanted - 1e-2) above += counts[level--];
    const part = Math.min(1, Math.max(0, (wanted - above) / counts[level]));
    return { levels, area: share, weights: Float64Array.from({ length: 256 }, (_, at) => (at > level ? 1 : at === level ? part : 0)) };
  }

  /** Both areas and what they share, in pixels. NaN as IoU where one highlights nothing. */
  function compared(first, second) {
    if (!first || !second) return { iou: NaN };
    const [one, other, some, others] = [first.weights, second.weights, first.levels, second.levels];
    let shared = 0, all = 0;
    for (let at = 0; at < some.length; at += 1) {
      const a = one[some[at]], b = other[others[at]];
      shared += a < b ? a : b;
      all += a < b ? b : a;
    }
    return { iou: shared / all, both: shared / some.length };
  }

  const atRandom = (a, b) => (a && b ? (a.area * b.area) / (a.area + b.area - a.area * b.area) : NaN);

  /* ---------- Drawing ---------- */

  function layer(levels, [height, width], colourOf) {
    const canvas = element("canvas", { width, height });
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(width, height);
    const colours = Array.from({ length: 256 }, (_, level) => new Uint32Array(Uint8ClampedArray.from(colourOf(level)).buffer)[0]);
    new Uint32Array(pixels.data.buffer).set(Uint32Array.from(levels, (level) => colours[level]));
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  /** A layer that is opaque where `keep` says so for both regions' weights. */
  function mask(first, second, size, rgb, strength, keep) {
    const pixels = (first ?? second).levels.length;
    const blended = new Uint8Array(pixels);
    for (let at = 0; at < pixels; at += 1) {
      const a = first ? first.weights[first.levels[at]] : 0, b = second ? second.weights[second.levels[at]] : 0;
      blended[at] = Math.round(255 * strength * keep(a, b));
    }
    return layer(blended, size, (alpha) => [...rgb, alpha]);
  }

  /** The colour of a map's value (from -1 to 1) over the pale image, as figures.overlay mixes it. */
  function heat({ signed }, scale) {
    return (value) => {
      if (signed) return [...(value > 0 ? ORANGE : BLUE), 217 * Math.abs(value)];
      const place = Math.max(0, value) * (scale.length - 1), low = Math.min(Math.floor(place), scale.length - 2);
      return [...scale[low].map((from, at) => from + (scale[low + 1][at] - from) * (place - low)), 153];
    };
  }

  /** The image, grey and light, to lay colours on. */
  function paint(context, image, layers) {
    context.globalCompositeOperation = "source-over";
    context.drawImage(image, 0, 0, SIDE, SIDE);
    context.globalCompositeOperation = "color";
    context.fillStyle = "#808080";
    context.fillRect(0, 0, SIDE, SIDE);
    context.globalCompositeOperation = "source-over";
    context.fillStyle = "rgb(255 255 255 / .25)";
    context.fillRect(0, 0, SIDE, SIDE);
    for (const { canvas, smooth } of layers) {
      context.imageSmoothingEnabled = smooth;
      context.drawImage(canvas, 0, 0, SIDE, SIDE);
    }
    context.imageSmoothingEnabled = true;
  }

  /** The image in its own colours where a layer is opaque. */
  function cut(image, canvas) {
    const made = element("canvas", { width: SIDE, height: SIDE });
    const context = made.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(canvas, 0, 0, SIDE, SIDE);
    context.globalCompositeOperation = "source-in";
    context.drawImage(image, 0, 0, SIDE, SIDE);
    return made;
  }

  /** The curves of both methods as lines, with a dot at the area of each one's region. */
  function curveChart(title, arrow, curves) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 1 1");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const plot = element("div", { class: "viewer-plot" }, svg);
    const said = curves.map(({ name, scores, side, area }) => {
      const line = document.createElementNS(SVG, "polyline");
      line.setAttribute("points", scores.map((score, at) => `${at / (scores.length - 1)},${1 - score}`).join(" "));
      line.setAttribute("class", `is-${side}`);
      svg.append(line);
      if (area > 0) {
        const place = area * (scores.length - 1), low = Math.min(Math.floor(place), scores.length - 2);
        const score = scores[low] + (scores[low + 1] - scores[low]) * (place - low);
        plot.append(element("i", { class: `is-${side}`, style: `left:${100 * area}%;top:${100 * (1 - score)}%` }));
      }
      return `${name} ${number(mean(scores))}`;
    });
    return element("figure", { role: "group", "aria-label": `${title}, probability of the class by share of the pixels. Means: ${said.join(", ")}` },
      element("figcaption", {}, `${title} ${arrow}`), plot,
      element("div", { class: "viewer-axis", "aria-hidden": "true" }, element("span", {}, "0%"), element("span", {}, "of the pixels"), element("span", {}, "100%")));
  }

  /* ---------- The viewer ---------- */

  function setUp(viewer, load) {
    const index = JSON.parse(viewer.querySelector(".vitrine-views").textContent);
    const { images, methods, rules, shares } = index;
    const single = methods.length < 2;
    const keys = methods.map(({ key }) => key);
    const names = images.map(({ name }) => name);
    const loaded = new Map();
    const start = { image: names[0], first: keys[0], second: keys[1] ?? "", rule: "share", share: Math.round(100 * index.share), view: "regions", swipe: 0 };
    let state = { ...start };
    const [at, first, second] = [() => names.indexOf(state.image), () => keys.indexOf(state.first), () => keys.indexOf(state.second)];
    const title = (place) => methods[place]?.title ?? "";

    /** The maps of a method, loaded once. */
    function mapsOf(place) {
      if (place < 0) return Promise.resolve([]);
      if (!loaded.has(place)) {
        loaded.set(place, load(new URL(methods[place].source, document.baseURI.split("?")[0])).then(() => ready(window.VITRINE_MAPS[place])));
      }
      return loaded.get(place);
    }

    function regionOf(map, { rule, share }) {
      if (!map?.levels) return null;
      const area = rule === "share" ? share / 100 : map.areas[rule];
      const levels = index.of_sizes.includes(rule) && map.sizes ? map.sizes : map.levels;
      map.regions ??= new Map(); // the same regions are compared with those of other images again
      const key = `${levels === map.sizes} ${area}`;
      if (area > 0 && !map.regions.has(key)) map.regions.set(key, topRegion(levels, area));
      return map.regions.get(key) ?? null;
    }

    /** The regions of a view, their IoU and its baselines. */
    function agreement(ones, others, view) {
      const place = names.indexOf(view.image);
      const [a, b] = [regionOf(ones[place], view), regionOf(others[place], view)];
      const elsewhere = others.filter((_, other) => other !== place).map((map) => compared(a, regionOf(map, view)).iou);
      return { a, b, ...compared(a, b), random: atRandom(a, b), elsewhere: mean(elsewhere.filter(Number.isFinite)) };
    }
    viewer.agreement = async (view) => agreement(await mapsOf(keys.indexOf(view.first)), await mapsOf(keys.indexOf(view.second)), view);

    /* ---------- Address ---------- */

    function readAddress() {
      const asked = new URLSearchParams(location.search);
      const within = (value, low, high, other) => (value === null || !Number.isFinite(Number(value)) ? other : Math.min(high, Math.max(low, Number(value))));
      const one = (name, known) => (known.includes(asked.get(name)) ? asked.get(name) : start[name]);
      state = {
        image: one("image", names), first: one("first", keys), second: one("second", keys), rule: one("rule", Object.keys(rules)), view: one("view", ["regions", "first", "second"]),
        share: Math.round(within(asked.get("share"), 100 * shares[0], 100 * shares[1], start.share)), swipe: within(asked.get("swipe"), 0, 100, 0),
      };
      if (state.first === state.second) state.second = keys.find((key) => key !== state.first) ?? "";
      if (single && state.view === "second") state.view = "regions";
    }

    const address = () => {
      const query = new URLSearchParams();
      for (const [key, value] of Object.entries(state)) if (value !== start[key]) query.set(key, value);
      return `${location.pathname}${query.size ? `?${query}` : ""}#look`;
    };

    /** Take over a choice. A slider that is moved on and on is one step back. */
    let sliding = "";
    function choose(change, slider = "") {
      if (change.first && change.first === state.second) change.second = state.first;
      if (change.second && change.second === state.first) change.first = state.second;
      Object.assign(state, change);
      history[slider && slider === sliding ? "replaceState" : "pushState"](null, "", address());
      sliding = slider;
      update();
    }

    /* ---------- Controls ---------- */

    const option = (value, text) => element("option", { value }, text);
    function menu(name, label, side, entries) {
      const select = element("select", {}, ...entries.map(([value, text]) => option(value, text)));
      select.addEventListener("change", () => choose({ [name]: select.value }));
      const shown = element("span", {}, label);
      if (side) shown.prepend(element("i", { class: `viewer-key is-${side}` }));
      return [select, element("label", {}, shown, select)];
    }
    function slider(name, low, high, attributes) {
      const input = element("input", { type: "range", min: low, max: high, step: 1, ...attributes });
      input.addEventListener("input", () => { state[name] = Number(input.value); draw(); });
      input.addEventListener("change", () => choose({ [name]: Number(input.value) }, name));
      return input;
    }
    const entries = methods.map((method) => [method.key, method.title]);
    const [firstMenu, firstLabel] = menu("first", single ? "Method" : "First method", "first", entries);
    const [secondMenu, secondLabel] = menu("second", "Second method", "second", entries);
    const [ruleMenu, ruleLabel] = menu("rule", "Region", "", Object.entries(rules));
    const [viewMenu, viewLabel] = menu("view", "Shown", "", [["regions", single ? "Region" : "Both regions"], ["first", "Map"], ...(single ? [] : [["second", "Map"]])]);
    const share = slider("share", 100 * shares[0], 100 * shares[1], {});
    const shareValue = element("b"); // an output would take the label to itself
    const shareLabel = element("label", { class: "viewer-share" }, element("span", {}, "Share of the area ", shareValue), share);
    const controls = element("div", { class: "viewer-controls" }, firstLabel, ...(single ? [] : [secondLabel]), ruleLabel, shareLabel, viewLabel);

    const group = `image-${Math.random().toString(36).slice(2)}`;
    const radios = images.map(({ name, thumbnail }) => {
      const radio = element("input", { type: "radio", name: group, value: name });
      radio.addEventListener("change", () => choose({ image: name }));
      return [radio, element("label", { title: name }, radio, element("img", { src: thumbnail, alt: name, width: 64, height: 64 }), element("span", { "aria-hidden": "true" }, name))];
    });
    const strip = element("div", { class: "viewer-strip", role: "radiogroup", "aria-label": "Image" }, ...radios.map(([, label]) => label));

    /* ---------- What is shown ---------- */

    const canvas = element("canvas", { width: SIDE, height: SIDE, role: "img" });
    const plain = element("img", { alt: "", width: 400, height: 400 });
    const swipe = slider("swipe", 0, 100, { "aria-label": "Uncover the image, from the left" });
    const stage = element("div", { class: "viewer-stage" }, canvas, plain, element("span", { class: "viewer-handle", "aria-hidden": "true" }), swipe);
    const heading = element("h2", { class: "viewer-title" });
    const predictions = element("ol", { class: "vitrine-bars" });
    const iou = element("output", { class: "viewer-iou", "aria-live": "polite", "aria-atomic": "true" });
    const track = element("div", { class: "viewer-track", "aria-hidden": "true" });
    const baselines = element("dl", { class: "viewer-levels" });
    const legend = element("ul", { class: "viewer-legend" });
    const notes = element("p", { class: "viewer-notes" });
    const side = element("div", { class: "viewer-side" }, heading, predictions, iou, track, baselines, legend, notes);
    const curves = element("div", { class: "viewer-curves" });
    const measures = element("div", { class: "viewer-measures vitrine-table" });
    const keysLine = element("p", { class: "viewer-keys" });
    for (const [key, what] of [["←", ""], ["→", "image"], ["+", ""], ["−", "share of the area"], ...(single ? [] : [["X", "swap the methods"]]), ["V", "what is shown"]]) {
      keysLine.append(element("kbd", {}, key), what ? ` ${what}\u2003` : " ");
    }
    const root = element("div", { class: "viewer-live" }, strip, controls, element("div", { class: "viewer-main" }, stage, side), curves, measures, keysLine);

    let shown = null; // what the last update found: maps of both methods and the image

    /** Draw the regions and say the numbers of what is loaded. */
    function draw() {
      if (!shown) return;
      const { ones, others, image } = shown;
      const [one, other, found] = [ones[at()], others[at()], agreement(ones, others, state)];
      const { a, b } = found;
      const context = canvas.getContext("2d");
      const map = { first: one, second: other }[state.view];
      if (map?.levels) {
        const colour = heat(map, index.scale);
        paint(context, image, [{ canvas: layer(map.levels, index.size, (level) => colour(map.values[level] ?? 0)), smooth: !map.signed }]);
      } else if (state.view === "regions" && (a || b)) {
        const both = single ? null : cut(image, mask(a, b, index.size, [0, 0, 0], 1, (x, y) => x * y));
        paint(context, image, [
          { canvas: mask(a, b, index.size, ORANGE, 0.65, (x, y) => x * (1 - y)) }, { canvas: mask(a, b, index.size, BLUE, 0.65, (x, y) => y * (1 - x)) },
          ...(both ? [{ canvas: both }] : [])]);
      } else paint(context, image, []);
      plain.alt = `The image ${state.image}`;
      canvas.setAttribute("aria-label", `${state.image}: ${state.view === "regions" ? `${single ? "the region" : "the regions"} of ${title(first())}${single ? "" : ` and ${title(second())}`}` : `map of ${title(state.view === "first" ? first() : second())}`}`);
      stage.style.setProperty("--swipe", `${state.swipe}%`);
      swipe.setAttribute("aria-valuetext", `${state.swipe}% of the image uncovered`);
      sayAgreement(found);
      sayAreas(found, one, other);
      shareValue.textContent = `${state.share}%`;
      showCurves(one, other, a, b);
    }

    function sayAgreement({ iou: value, random, elsewhere }) {
      if (single) return iou.replaceChildren("An IoU needs two methods with maps.");
      iou.replaceChildren(element("b", {}, number(value)), ` IoU of ${title(first())} and ${title(second())}`);
      const levels = [["same", value, "this image"], ["other", elsewhere, images.length > 1 ? "cross-image baseline" : "cross-image baseline: needs a second image"], ["random", random, "at random"]];
      track.replaceChildren(...levels.filter(([, level]) => Number.isFinite(level)).map(([kind, level]) => element("i", { class: `is-${kind}`, style: `left:${100 * level}%` })));
      baselines.replaceChildren(...levels.slice(1).map(([kind, level, what]) => element("div", {}, element("dt", {}, element("i", { class: `is-${kind}` }), what), element("dd", {}, number(level)))));
    }

    function sayAreas({ a, b, both }, one, other) {
      const entry = (kind, text) => element("li", {}, element("i", { class: `viewer-key is-${kind}` }), text);
      const area = (region) => percent(region?.area ?? 0);
      if (state.view === "regions") {
        legend.replaceChildren(entry("first", `${title(first())} ${single ? "" : "only "}${percent((a?.area ?? 0) - (both ?? 0))}`),
          ...(single ? [] : [entry("second", `${title(second())} only ${percent((b?.area ?? 0) - (both ?? 0))}`), entry("both", `both ${percent(both ?? 0)}, in the image’s colours`)]));
      } else {
        const map = state.view === "first" ? one : other;
        legend.replaceChildren(...(map?.signed ? [entry("first", "for the class"), entry("second", "against it")] : [entry("scale", "from no weight to the greatest")]));
      }
      const why = [[one, first(), a], [other, second(), b]].filter(([, place, region]) => place >= 0 && !region)
        .map(([map, place]) => (map.reason ? `${title(place)} has no map of this image: ${map.reason}.` : `${title(place)} highlights nothing by this rule.`));
      notes.textContent = [...why, ...(state.rule === "share" || single ? [] : [`Regions cover ${area(a)} and ${area(b)} of the frame.`]), ...index.absent].join(" ");
    }

    function showCurves(one, other, a, b) {
      const both = [[one, first(), "first", a], [other, second(), "second", b]].filter(([map]) => map?.curves);
      const named = Object.keys(index.measures).filter((name) => both.some(([map]) => map.curves[name]));
      curves.replaceChildren(...named.map((name) => curveChart(index.measures[name][0], arrow(name),
        both.filter(([map]) => map.curves[name]).map(([map, place, side, region]) => ({ name: title(place), scores: map.curves[name], side, area: region?.area ?? 0 })))));
    }

    const arrow = (name) => ({ lower: "↓", higher: "↑" })[index.measures[name][1]] ?? "";

    function showMeasures(one, other) {
      const columns = [[one, first(), "first"], [other, second(), "second"]].filter(([, place]) => place >= 0);
      const named = Object.keys(index.measures).filter((name) => columns.some(([map]) => map.measures && name in map.measures));
      if (!named.length) return measures.replaceChildren();
      const cell = (value) => element("td", { class: "is-numeric" }, typeof value === "number" ? number(value, 3) : "–", ...(value && typeof value === "string" ? [element("small", {}, value)] : []));
      const head = element("tr", {}, element("th", { scope: "col" }, "Measure of the map of this image"),
        ...columns.map(([, place, side]) => element("th", { scope: "col", class: "is-numeric" }, element("i", { class: `viewer-key is-${side}` }), title(place))));
      const rows = named.map((name) => {
        const [label, , question] = index.measures[name];
        return element("tr", {}, element("th", { scope: "row" }, `${label} ${arrow(name)}`, element("small", {}, question)), ...columns.map(([map]) => cell(map.measures?.[name])));
      });
      measures.replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
    }

    function showImage({ name, predictions: rows, correct }) {
      heading.replaceChildren(name, element("small", {}, `what ${index.network} sees${correct === false ? "; its prediction is another class" : ""}`));
      predictions.replaceChildren(...rows.map(([category, p]) => element("li", { style: `--p:${p}` }, element("span", { class: "vitrine-bars-name" }, category), element("span", { class: "vitrine-bars-value" }, percent(p)))));
    }

    /** Show the state: controls at once, regions as soon as the maps are there. */
    async function update() {
      const asked = { ...state };
      [[firstMenu, "first"], [secondMenu, "second"], [ruleMenu, "rule"], [viewMenu, "view"], [share, "share"], [swipe, "swipe"]].forEach(([control, name]) => { control.value = state[name]; });
      [...viewMenu.options].slice(1).forEach((each, place) => { each.textContent = `Map of ${title(place ? second() : first())}`; });
      shareLabel.hidden = state.rule !== "share";
      radios.forEach(([radio]) => { radio.checked = radio.value === state.image; });
      const chosen = images[at()];
      showImage(chosen);
      viewer.setAttribute("aria-busy", "true");
      plain.src = new URL(chosen.source, document.baseURI.split("?")[0]).href;
      try {
        const [ones, others] = await Promise.all([mapsOf(first()), mapsOf(second()), plain.decode()]);
        if (Object.keys(asked).some((key) => ["image", "first", "second"].includes(key) && asked[key] !== state[key])) return;
        shown = { ones, others, image: plain };
        showMeasures(ones[at()], others[at()]);
        draw();
      } catch (error) {
        if (asked.image === state.image) notes.textContent = "The maps could not be loaded.";
      }
      viewer.removeAttribute("aria-busy");
    }

    const shift = (names, name, step) => names[(names.indexOf(name) + step + names.length) % names.length];
    const views = single ? ["regions", "first"] : ["regions", "first", "second"];

    function pressed(event) {
      const { key, target } = event;
      if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      const elsewhere = target !== document.body && !root.contains(target);
      if (elsewhere || target.closest?.("select")) return;
      const arrows = { ArrowLeft: -1, ArrowRight: 1 }[key];
      if (arrows && target.matches?.("input")) return; // sliders and the strip move by them
      const more = { "+": 1, "=": 1, "-": -1, "−": -1 }[key];
      const change = arrows ? { image: shift(names, state.image, arrows) }
        : more && state.rule === "share" ? { share: Math.min(100 * shares[1], Math.max(100 * shares[0], state.share + more)) }
        : key === "x" && !single ? { first: state.second, second: state.first }
        : key === "v" ? { view: shift(views, state.view, 1) } : null;
      if (!change) return;
      event.preventDefault();
      choose(change, more ? "share" : "");
    }

    document.addEventListener("keydown", pressed);
    addEventListener("popstate", () => { sliding = ""; readAddress(); update(); });
    readAddress();
    viewer.append(root);
    viewer.classList.add("is-ready");
    return update();
  }

  window.vitrineViewer = setUp;
})();
