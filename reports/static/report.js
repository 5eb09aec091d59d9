"use strict";
// The page's behaviour: draw the charts, fill the operator table, keep the choice in the address.
// Names from a trace are only ever text content and data values.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const every = (selector) => [...document.querySelectorAll(selector)];
  const distinct = (values) => [...new Set(values)];
  const rows = (table) => {
    const names = Object.keys(table);
    return Array.from({length: names.length ? table[names[0]].length : 0}, (_, i) => {
      const row = Object.create(null);
      for (const name of names) row[name] = table[name][i];
      return row;
    });
  };
  const bars = rows(data.components.table);
  const operators = rows(data.operators);
  const shapes = rows(data.shapes); // the same by input shapes, at the greatest length of each curve
  const steps = rows(data.steps);
  const curves = new Map(rows(data.series).map((row) => [row.series, row])); // unit, and the number of its specs
  const WHOLE_TRACE = "whole trace";
  const FEW = 15; // operators that are listed until all are asked for

  // -- what is chosen: one state, kept in the address

  const state = {series: "", length: "", phase: "", unit: "time", kind: "operator", sort: "self_ns", filter: "", theme: "", up: false, all: false};
  const WORDS = {
    unit: every("[data-unit]").map((button) => button.dataset.unit), kind: ["operator", "shape", "all"],
    theme: ["", "light", "dark"], sort: every("th[data-column]").map((th) => th.dataset.column),
  };
  const recall = () => {
    const words = new URLSearchParams(location.hash.slice(1));
    for (const key of ["series", "length", "phase", "filter"]) if (words.has(key)) state[key] = words.get(key);
    for (const [key, allowed] of Object.entries(WORDS)) if (allowed.includes(words.get(key))) state[key] = words.get(key);
    for (const key of ["up", "all"]) state[key] = words.get(key) === "1";
  };
  const remember = () => {
    const words = new URLSearchParams();
    for (const key of Object.keys(state)) if (state[key]) words.set(key, state[key] === true ? "1" : state[key]);
    history.replaceState(null, "", `#${words}`);
  };
  const choose = (change) => { Object.assign(state, change); show(); remember(); };

  // -- charts

  const refuse = () => Promise.reject(new Error("this page loads nothing"));
  const options = {
    ast: true, renderer: "svg", downloadFileName: "tracekit", defaultStyle: false,
    loader: Object.assign(vega.loader(), {load: refuse, http: refuse, file: refuse, sanitize: refuse}),
    actions: {export: {svg: true, png: true}, source: false, compiled: false, editor: false},
    tooltip: {disableDefaultStyle: true}, i18n: {SVG_ACTION: "SVG", PNG_ACTION: "PNG"},
  };
  // A cell that a spreadsheet would take for a formula, as in `formats.guarded`, is text there too.
  const csvCell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    const safe = typeof value === "string" && /^\s*[-=+@\uff1d\uff0b\uff0d\uff20]/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const csv = (list) => {
    const names = Object.keys(list[0]);
    return [names, ...list.map((row) => names.map((name) => row[name]))].map((cells) => cells.map(csvCell).join(",")).join("\r\n");
  };
  const flat = (list) => list.length && Object.values(list[0]).every((value) => value === null || typeof value !== "object");
  // What a chart draws, as rows: its largest plain dataset; else the table beside it.
  const dataOf = (element, datasets) => {
    const plain = Object.values(datasets || {}).filter((list) => Array.isArray(list) && flat(list));
    if (plain.length) return plain.reduce((most, list) => (list.length > most.length ? list : most));
    const table = element.parentElement.querySelector("table");
    const head = table ? [...table.tHead.rows[0].cells].map((cell) => cell.textContent) : [];
    return table ? [...table.tBodies[0].rows].map((tr) => Object.fromEntries([...tr.cells].map((cell, i) => [head[i], cell.textContent]))) : [];
  };
  const offerCsv = (element, datasets) => {
    const bar = element.querySelector(".vega-actions");
    const list = dataOf(element, datasets);
    if (!bar || !list.length) return;
    const link = document.createElement("a");
    link.textContent = "CSV";
    link.download = "tracekit.csv";
    link.href = "#";
    link.addEventListener("click", () => { link.href = URL.createObjectURL(new Blob([csv(list)], {type: "text/csv"})); });
    bar.append(link);
  };
  const drawn = new Map(); // element -> the promise of what vegaEmbed made there
  // Legends do not wrap by themselves: one column where two would not fit.
  const fitted = (config, width) => {
    const columns = width < 560 ? 1 : 2;
    return {...config, legend: {...config.legend, columns, labelLimit: Math.max(60, width / columns - 100)}};
  };
  const mark = (view) => view.signal("chosen_series", state.series).signal("chosen_length", state.length);
  const clear = (element, text = "") => {
    const before = drawn.get(element);
    if (before) before.then((result) => result && result.finalize());
    drawn.delete(element);
    element.textContent = text;
  };
  const draw = (element, spec, datasets) => {
    clear(element);
    drawn.set(element, vegaEmbed(element, {...spec, config: fitted(spec.config, element.clientWidth), datasets}, options)
      .then((result) => {
        result.view.addEventListener("click", (_, item) => {
          const row = item && item.datum;
          if (row && typeof row.pick === "string") choose({series: row.series || element.dataset.series, length: row.pick});
        });
        mark(result.view).runAsync();
        offerCsv(element, datasets);
        return result;
      })
      .catch((error) => { element.textContent = `This chart could not be drawn: ${error.message}`; }));
  };
  const drawCharts = () => {
    for (const element of every("[data-chart]")) {
      const spec = data.charts[element.dataset.chart];
      draw(element, spec, spec.datasets);
    }
  };
  // The phases of a curve, "" (all of them) first; a curve without the chosen one shows all.
  const phasesOf = (series) => distinct(bars.filter((row) => row.series === series).map((row) => row.phase));
  const phaseOf = (series) => (phasesOf(series).includes(state.phase) ? state.phase : "");
  const drawComponents = () => {
    $("of-phase").textContent = bars.some((row) => row.phase && row.phase === state.phase) ? `in ${state.phase}, of the curves that have it` : "";
    for (const element of every("[data-series]")) {
      const phase = phaseOf(element.dataset.series);
      const own = bars.filter((row) => row.series === element.dataset.series && row.phase === phase);
      const specs = data.components.specs[curves.get(element.dataset.series).group];
      if (own.every((row) => row[state.unit] === null)) clear(element, "This trace does not tell its length.");
      else draw(element, specs[state.unit], {bars: own.map((row) => ({...row}))});
    }
    for (const button of every("[data-unit]")) button.setAttribute("aria-pressed", String(button.dataset.unit === state.unit));
  };
  const markCharts = () => { for (const made of drawn.values()) made.then((result) => result && mark(result.view).runAsync()); };

  // -- the operator table

  const UNITS = [[1e9, "s"], [1e6, "ms"], [1e3, "us"], [1, "ns"]];
  const duration = (ns) => {
    const [size, unit] = UNITS.find(([s]) => Math.abs(ns) >= s) || UNITS[3];
    const value = ns / size;
    return `${size === 1 ? value : value.toLocaleString("en", {maximumSignificantDigits: 3, minimumSignificantDigits: 3})} ${unit}`;
  };
  const percent = (share) => `${(share * 100).toFixed(1)}%`;
  const cell = (text) => { const td = document.createElement("td"); td.textContent = text; return td; };
  const line = (row) => {
    const tr = document.createElement("tr");
    const component = cell("");
    if (row.component) {
      const chip = document.createElement("span");
      const word = document.createElement("span");
      chip.className = "chip";
      chip.dataset.label = data.labels.includes(row.component) ? row.component : "other";
      word.textContent = row.component;
      component.append(chip, word);
    }
    const name = cell(row.name);
    name.title = row.name;
    if (row.rest) tr.className = "rest";
    tr.append(name, component, cell(row.calls.toLocaleString("en")), cell(duration(row.self_ns)),
      cell(row.rest || row.kind === "total" ? "" : duration(row.total_ns)), cell(row.device_ns ? duration(row.device_ns) : "-"), cell(percent(row.share)));
    return tr;
  };

  const SUMS = ["calls", "self_ns", "total_ns", "device_ns", "share"];
  const KINDS = {operator: "operators", annotation: "ranges", python: "Python frames", runtime: "runtime calls"};
  const BETWEEN = {annotation: "ranges, between operators", python: "Python frames, between operators"};
  const sumOf = (list, row) => {
    for (const key of SUMS) row[key] = list.reduce((total, one) => total + one[key], 0);
    return row;
  };
  // Kinds other than operators as one row each: nobody looks for them first, and without them the total would not be true.
  const folded = (list) => {
    const kept = list.filter((row) => row.kind === "operator");
    if (!kept.length) return list;
    const others = distinct(list.map((row) => row.kind)).filter((kind) => kind !== "operator");
    return [...kept, ...others.map((kind) => sumOf(list.filter((row) => row.kind === kind),
      {name: BETWEEN[kind] || KINDS[kind] || kind, kind, component: "", rest: 1}))];
  };
  const sorted = (list) => list.sort((a, b) => {
    if (!a.rest !== !b.rest) return a.rest ? 1 : -1;
    const [x, y] = [a[state.sort], b[state.sort]];
    return (state.up ? 1 : -1) * (typeof x === "number" ? x - y : String(x).localeCompare(String(y)));
  });
  // The first few rows; those left out join the row that sums what the page does not hold.
  const shortened = (list) => {
    const own = list.filter((row) => !row.rest);
    const hidden = state.all || state.filter || own.length <= FEW + 3 ? [] : own.slice(FEW);
    const rests = list.filter((row) => row.rest);
    const summed = [...hidden, ...rests].sort((a, b) => (a.kind !== "operator") - (b.kind !== "operator"));
    const sums = distinct(summed.map((row) => row.kind)).map((kind) => {
      const parts = summed.filter((row) => row.kind === kind);
      if (parts.length === 1 && parts[0].name) return parts[0];
      const count = parts.reduce((total, row) => total + (row.rest || 1), 0);
      return sumOf(parts, {name: `${count} more ${KINDS[kind] || kind}`, kind, component: "", rest: count});
    });
    return {few: [...own.filter((row) => !hidden.includes(row)), ...sums], hidden: hidden.length, own: own.length};
  };

  const fillOperators = () => {
    const shaped = state.kind === "shape";
    const all = (shaped ? shapes : operators).filter((row) =>
      row.series === state.series && row.pick === state.length && (shaped || row.phase === phaseOf(state.series)));
    const wanted = state.filter.toLowerCase();
    const found = (state.kind === "all" ? [...all] : folded(all))
      .filter((row) => !wanted || `${row.name} ${row.component} ${row.kind}`.toLowerCase().includes(wanted));
    const {few, hidden, own} = shortened(sorted(found));
    const table = $("operator-table");
    table.tBodies[0].replaceChildren(...few.map(line));
    const total = sumOf(found, {name: wanted ? "total of the filtered rows" : "total", kind: "total", component: ""});
    table.tFoot.replaceChildren(line(total));
    const device = all.some((row) => row.device_ns > 0);
    for (const tr of table.rows) tr.cells[5].hidden = !device;
    for (const th of every("th[data-column]"))
      if (th.dataset.column === state.sort) th.setAttribute("aria-sort", state.up ? "ascending" : "descending");
      else th.removeAttribute("aria-sort");
    $("all").hidden = !hidden && !(state.all && !wanted && own > FEW + 3);
    $("all").textContent = hidden ? `Show ${hidden} more` : "Show fewer";
  };

  // -- the page

  const choices = (select, values, chosen) => {
    select.replaceChildren(...values.map((value) => new Option(value || "all", value, false, value === chosen)));
    select.parentElement.hidden = values.length < 2;
  };
  const describe = () => {
    const curve = curves.get(state.series);
    const whole = state.length === WHOLE_TRACE;
    const phase = state.kind === "shape" ? "" : phaseOf(state.series);
    $("chosen").textContent = `of ${state.series}${whole ? "" : ` at ${state.length} ${curve ? curve.unit : ""}`}${phase && `, ${phase}`}`;
    const point = steps.find((row) => row.series === state.series && row.pick === state.length);
    const count = point ? point.steps : 0;
    const beside = count && point.beside ? ` and what ran beside ${count === 1 ? "it" : "them"}` : "";
    const shaped = state.kind !== "shape" || shapes.some((row) => row.series === state.series && row.pick === state.length);
    $("scope").textContent = !shaped ? "Input shapes are here for the greatest length of each curve."
      : count
      ? `Summed over ${count === 1 ? "one profiled step" : `${count} profiled steps`}${beside}.` : "Summed over the whole trace.";
  };
  const show = () => {
    const series = distinct(operators.map((row) => row.series));
    if (!series.includes(state.series)) state.series = series[0] || "";
    const lengths = distinct(operators.filter((row) => row.series === state.series).map((row) => row.pick));
    if (!lengths.includes(state.length)) state.length = lengths[lengths.length - 1] || "";
    choices($("series"), series, state.series);
    choices($("length"), lengths, state.length);
    choices($("phase"), phasesOf(state.series), phaseOf(state.series));
    $("kind").value = state.kind;
    if ($("filter").value !== state.filter) $("filter").value = state.filter;
    if (state.theme) document.documentElement.dataset.theme = state.theme;
    describe();
    fillOperators();
    markCharts();
  };

  $("series").addEventListener("change", (event) => choose({series: event.target.value}));
  $("length").addEventListener("change", (event) => choose({length: event.target.value}));
  $("phase").addEventListener("change", (event) => { choose({phase: event.target.value}); drawComponents(); });
  $("kind").addEventListener("change", (event) => choose({kind: event.target.value}));
  $("filter").addEventListener("input", (event) => choose({filter: event.target.value}));
  $("all").addEventListener("click", () => choose({all: !state.all}));
  for (const th of every("th[data-column]"))
    th.firstElementChild.addEventListener("click", () => {
      const column = th.dataset.column;
      choose({up: state.sort === column ? !state.up : column === "name" || column === "component", sort: column});
    });
  for (const button of every("[data-unit]"))
    button.addEventListener("click", () => { choose({unit: button.dataset.unit}); drawComponents(); });
  $("theme").addEventListener("click", () => {
    const dark = state.theme ? state.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    choose({theme: dark ? "light" : "dark"});
  });
  const step = (select, by) => {
    const next = $(select).selectedIndex + by;
    if (next >= 0 && next < $(select).options.length) choose({[select]: $(select).options[next].value});
  };
  const KEYS = {
    "[": () => step("series", -1), "]": () => step("series", 1), ",": () => step("length", -1), ".": () => step("length", 1),
    "u": () => { choose({unit: WORDS.unit[(WORDS.unit.indexOf(state.unit) + 1) % WORDS.unit.length]}); drawComponents(); },
    "/": () => $("filter").focus(),
  };
  window.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName || "");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(KEYS, event.key)) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  // A link within the page (#quality) is no choice.
  window.addEventListener("hashchange", () => { if (location.hash.includes("=")) { recall(); drawComponents(); show(); } });
  // On paper nothing can be opened: what was closed is opened for it.
  let closed = [];
  window.addEventListener("beforeprint", () => { closed = every("main details:not([open])"); for (const one of closed) one.open = true; });
  window.addEventListener("afterprint", () => { for (const one of closed) one.open = false; });

  recall();
  drawCharts();
  drawComponents();
  show();
})();
