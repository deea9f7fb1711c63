"use strict";
// All text goes into the page as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const make = (tag, text = "", attributes = {}) => {
    const element = document.createElement(tag);
    element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const MEASURES = {
    score: "score",
    ci_low: `lower end of its ${data.level} interval`,
    raw: "weight on the targets, null not taken off",
    null: "the null",
    effect: "effect of exact mean ablation (nats)",
    first_order: "first-order estimate of the effect (nats)",
  };
  const IN_NATS = new Set(["effect", "first_order"]);
  // Where the colours end: a round number, and never below .1, so that noise alone stays pale.
  const endOf = (values) => {
    const most = Math.max(0.1, ...values);
    const power = 10 ** Math.floor(Math.log10(most));
    return [1, 2, 5, 10].map((step) => step * power).find((end) => end >= most * (1 - 1e-9));
  };

  const format = (value) => {
    if (value === null) return "undefined";
    const size = Math.abs(value);
    const text = size > 0 && size < 0.0005 ? size.toExponential(1) : size.toFixed(3);
    return (value < 0 ? "\u2212" : "") + text;
  };
  const interval = (low, high) =>
    low === null || high === null ? "" : ` [${format(low)}, ${format(high)}]`;
  const nameOf = (i) => `L${Math.floor(i / data.heads)}H${i % data.heads}`;

  const paint = (cell, value, most) => {
    cell.classList.toggle("less", value < 0);
    cell.style.setProperty("--share", `${Math.round((1000 * Math.abs(value)) / most) / 10}%`);
  };

  // Arrow keys go through cells in rows of `width`; one cell at a time is reached by Tab.
  const walk = (cells, width, event, from) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -width, ArrowDown: width };
    const column = from % width;
    const ends = { Home: from - column, End: from - column + width - 1 };
    let to = event.key in steps ? from + steps[event.key] : ends[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const sideways = event.key === "ArrowLeft" || event.key === "ArrowRight";
    if (sideways && Math.floor(to / width) !== Math.floor(from / width)) return;
    if (cells[to]) focusOn(cells, to);
  };
  const focusOn = (cells, to) => {
    for (const cell of cells) if (cell) cell.tabIndex = -1;
    cells[to].tabIndex = 0;
    cells[to].focus();
  };

  // --- the map ---

  const n = data.layers * data.heads;
  let detector = data.detectors[0] || null;
  let chosen = null;
  const buttons = [];

  const buildHeads = () => {
    const table = make("table", "", { class: "grid", "aria-label": "heads" });
    const top = table.createTHead().insertRow();
    top.append(make("td"));
    for (let h = 0; h < data.heads; h++) top.append(make("th", `H${h}`, { scope: "col" }));
    const body = table.createTBody();
    for (let l = 0; l < data.layers; l++) {
      const row = body.insertRow();
      row.append(make("th", `L${l}`, { scope: "row" }));
      for (let h = 0; h < data.heads; h++) {
        const i = l * data.heads + h;
        const button = make("button", "", { type: "button", tabindex: i ? -1 : 0 });
        button.addEventListener("pointerenter", () => describe(i));
        button.addEventListener("focus", () => describe(i));
        button.addEventListener("click", () => choose(i));
        button.addEventListener("keydown", (event) => walk(buttons, data.heads, event, i));
        buttons.push(button);
        row.insertCell().append(button);
      }
    }
    table.addEventListener("pointerleave", () => describe(chosen));
    byId("heads").append(table);
  };

  const paintHeads = () => {
    const measure = byId("measure").value;
    const values = detector ? detector.columns[measure] : Array(n).fill(null);
    const known = values.filter((v) => v !== null).map(Math.abs);
    const most = endOf(known);
    buttons.forEach((button, i) => {
      const value = values[i];
      const named = detector && detector.named[i] !== null;
      button.className = "cell";
      button.classList.toggle("unknown", value === null);
      button.classList.toggle("named", Boolean(named));
      button.classList.toggle("chosen", i === chosen);
      button.setAttribute("aria-pressed", String(i === chosen));
      button.setAttribute(
        "aria-label",
        `${nameOf(i)}: ${MEASURES[measure]} ${format(value)}${named ? ", named" : ""}`,
      );
      if (value !== null) paint(button, value, most);
    });
    buildKey(most, measure, known.length > 0 && Math.min(...values.filter((v) => v !== null)) < 0);
  };

  const buildKey = (most, measure, below) => {
    const key = byId("key");
    const swatches = make("span", "", { class: "cells", "aria-hidden": "true" });
    for (let step = below ? -5 : 0; step <= 5; step++) {
      const swatch = make("span", "", { class: "cell" });
      paint(swatch, step, 5);
      swatches.append(swatch);
    }
    key.replaceChildren(
      make("span", below ? `\u2212${most}` : "0"),
      swatches,
      make("span", `${most}${IN_NATS.has(measure) ? " nats" : ""}`),
      make("span", "", { class: "ring" }),
      make("span", "named by the detector"),
      make("span", "hatched: undefined, or not run"),
    );
  };

  const describe = (i) => {
    const box = byId("details");
    if (i === null || !detector) {
      box.replaceChildren(make("p", "Hover over a head, or go to one with the keyboard."));
      return;
    }
    const value = (name) => detector.columns[name][i];
    const list = make("dl");
    const add = (term, text) => list.append(make("dt", term), make("dd", text));
    add("score", format(value("score")) + interval(value("ci_low"), value("ci_high")));
    add("on targets", format(value("raw")));
    add("null", format(value("null")));
    add("q", value("q") === null ? "not tested" : format(value("q")));
    add("sequences", value("n") === null ? "none" : String(value("n")));
    const by = detector.named[i];
    add("named", by === null ? "no" : by === "all" ? "yes" : `yes, where the query is: ${by}`);
    const effect = value("effect");
    const ends = interval(value("effect_low"), value("effect_high"));
    add("effect", effect === null ? "not run" : `${format(effect)} nats${ends}`);
    const first = value("first_order");
    add("first order", first === null ? "not run" : `${format(first)} nats`);
    box.replaceChildren(
      make("h2", nameOf(i)),
      list,
      make("p", `Intervals: ${data.level}. Effect: ${detector.behaviour}`, { class: "note" }),
    );
  };

  const pickDetector = () => {
    detector = data.detectors[Number(byId("detector").value)] || null;
    const verdict = detector && detector.verdict ? `Verdict: ${detector.verdict}. ` : "";
    const skipped = detector && detector.reason ? `Skipped: ${detector.reason}. ` : "";
    byId("asks").textContent = detector
      ? verdict + skipped + detector.asks
      : "No detector was run.";
    paintHeads();
    describe(chosen);
  };

  // --- the pattern of a head ---

  const bytes = data.prompts.map((prompt) => {
    const text = atob(prompt.packed);
    return Int8Array.from(text, (c) => (c.charCodeAt(0) << 24) >> 24);
  });
  const weightsOf = (p, i) => {
    const size = bytes[p].length / n;
    const scale = data.prompts[p].scale[i];
    return Float64Array.from(bytes[p].subarray(i * size, (i + 1) * size), (b) => (b * scale) / 127);
  };

  const tokenOf = ([text, title, plain]) =>
    make("bdi", text, { class: plain ? "tok" : "tok wide", title });

  const buildPattern = () => {
    const place = byId("pattern");
    byId("readout").textContent = "";
    if (chosen === null || !data.prompts.length) {
      place.replaceChildren(
        make("p", data.prompts.length ? "Click a head to see its pattern." : "No pattern is kept."),
      );
      byId("scale").textContent = "";
      return;
    }
    const p = Number(byId("prompt").value);
    const { tokens, signed, scale } = data.prompts[p];
    const weights = weightsOf(p, chosen);
    const most = signed ? scale[chosen] || 1 : Math.max(1, scale[chosen]);
    byId("attention-title").textContent = `Attention of ${nameOf(chosen)}`;
    byId("scale").textContent =
      "Rows are queries, columns keys. " +
      (signed
        ? `Signed and unnormalised: the colours end at \u00b1${format(most)}, this head's largest.`
        : `The colours go from 0 to ${most === 1 ? 1 : format(most)}.`) +
      ` Rounded to ${format(scale[chosen] / 254)}.`;
    const table = make("table", "", { class: "pattern" });
    const top = table.createTHead().insertRow();
    top.append(make("td"));
    const keys = tokens.map((token, j) => {
      const head = make("th", "", { scope: "col", "aria-label": `key ${j}, ${token[0]}` });
      head.append(tokenOf(token));
      top.append(head);
      return head;
    });
    const body = table.createTBody();
    const cells = [];
    const queries = [];
    const light = (i, j) => {
      queries.forEach((head, at) => head.classList.toggle("lit", at === i));
      keys.forEach((head, at) => head.classList.toggle("lit", at === j));
      const weight = format(weights[(i * (i + 1)) / 2 + j]);
      byId("readout").textContent = `${i} ${tokens[i][0]} \u2192 ${j} ${tokens[j][0]}: ${weight}`;
    };
    tokens.forEach((token, i) => {
      const row = body.insertRow();
      const head = make("th", "", { scope: "row", "aria-label": `query ${i}, ${token[0]}` });
      head.append(tokenOf(token));
      queries.push(head);
      row.append(head);
      for (let j = 0; j <= i; j++) {
        const cell = row.insertCell();
        const at = i * tokens.length + j;
        const weight = weights[(i * (i + 1)) / 2 + j];
        cell.className = "cell";
        cell.tabIndex = at ? -1 : 0;
        cell.setAttribute("aria-label", `query ${i}, key ${j}: ${format(weight)}`);
        paint(cell, weight, most);
        cell.addEventListener("pointerenter", () => light(i, j));
        cell.addEventListener("focus", () => light(i, j));
        cell.addEventListener("keydown", (event) => walk(cells, tokens.length, event, at));
        cells[at] = cell;
      }
    });
    byId("readout").textContent = "Hover over an entry, or go to one with the keyboard.";
    place.replaceChildren(table);
  };

  const choose = (i) => {
    chosen = i;
    for (const button of buttons) button.tabIndex = -1;
    buttons[i].tabIndex = 0;
    paintHeads();
    describe(i);
    buildPattern();
  };

  // --- the start ---

  data.detectors.forEach((d, i) => {
    byId("detector").append(make("option", d.label + (d.reason ? " (skipped)" : ""), { value: i }));
  });
  for (const [name, text] of Object.entries(MEASURES)) {
    byId("measure").append(make("option", text, { value: name }));
  }
  data.prompts.forEach((prompt, i) => {
    byId("prompt").append(make("option", prompt.id, { value: i }));
  });
  for (const id of ["pick", "pick-prompt"]) {
    byId(id).addEventListener("submit", (event) => event.preventDefault());
  }
  byId("detector").addEventListener("input", pickDetector);
  byId("measure").addEventListener("input", paintHeads);
  byId("prompt").addEventListener("input", buildPattern);
  buildHeads();
  pickDetector();
  // The page begins with the named head of the largest score, if there is one.
  const scores = detector ? detector.columns.score : [];
  const named = scores
    .map((score, i) => [score, i])
    .filter(([score, i]) => score !== null && detector.named[i] !== null)
    .sort((a, b) => b[0] - a[0]);
  if (named.length) choose(named[0][1]);
  else buildPattern();
})();
