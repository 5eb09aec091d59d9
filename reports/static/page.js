"use strict";
// What our pages share: their data, the choice in the address, charts that load nothing, light and dark, paper.
const page = (() => {
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

  // -- what is chosen, kept in the address: keys of `free` may be any text, those of `words` one of these, `flags` are true or false

  const address = (state, {free, words, flags}) => ({
    recall: () => {
      const found = new URLSearchParams(location.hash.slice(1));
      for (const key of free) if (found.has(key)) state[key] = found.get(key);
      for (const [key, allowed] of Object.entries(words)) if (allowed.includes(found.get(key))) state[key] = found.get(key);
      for (const key of flags) state[key] = found.get(key) === "1";
    },
    remember: () => {
      const found = new URLSearchParams();
      for (const key of Object.keys(state)) if (state[key]) found.set(key, state[key] === true ? "1" : state[key]);
      history.replaceState(null, "", `#${found}`);
    },
  });
  const choices = (select, values, chosen) => {
    select.replaceChildren(...values.map((value) => new Option(value || "all", value, false, value === chosen)));
    select.parentElement.hidden = values.length < 2;
  };

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
  const clear = (element, text = "") => {
    const before = drawn.get(element);
    if (before) before.then((result) => result && result.finalize());
    drawn.delete(element);
    element.textContent = text;
  };
  // `mark(view)` sets what a drawn chart is to show as chosen; `picked(row)` is told the data of what was clicked.
  const draw = (element, spec, datasets, {mark, picked}) => {
    clear(element);
    drawn.set(element, vegaEmbed(element, {...spec, config: fitted(spec.config, element.clientWidth), datasets}, options)
      .then((result) => {
        result.view.addEventListener("click", (_, item) => { if (item && item.datum) picked(item.datum); });
        mark(result.view).runAsync();
        offerCsv(element, datasets);
        return result;
      })
      .catch((error) => { element.textContent = `This chart could not be drawn: ${error.message}`; }));
  };
  const markAll = (mark) => { for (const made of drawn.values()) made.then((result) => result && mark(result.view).runAsync()); };

  // -- numbers in words

  const UNITS = [[1e9, "s"], [1e6, "ms"], [1e3, "us"], [1, "ns"]];
  const duration = (ns) => {
    const [size, unit] = UNITS.find(([s]) => Math.abs(ns) >= s) || UNITS[3];
    const value = ns / size;
    return `${size === 1 ? value : value.toLocaleString("en", {maximumSignificantDigits: 3, minimumSignificantDigits: 3})} ${unit}`;
  };
  const percent = (share) => `${(share * 100).toFixed(1)}%`;
  const cell = (text) => { const td = document.createElement("td"); td.textContent = text; return td; };

  // -- keys, links, light, dark, and paper

  const keys = (known) => {
    window.addEventListener("keydown", (event) => {
      const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName || "");
      if (typing || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(known, event.key)) return;
      event.preventDefault();
      known[event.key]();
    });
  };
  // To the option before or after the chosen one.
  const step = (select, by, choose) => {
    const next = $(select).selectedIndex + by;
    if (next >= 0 && next < $(select).options.length) choose({[select]: $(select).options[next].value});
  };
  // A link within the page (#quality) is no choice.
  const follow = (again) => window.addEventListener("hashchange", () => { if (location.hash.includes("=")) again(); });
  const themes = (state, choose) => $("theme").addEventListener("click", () => {
    const dark = state.theme ? state.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    choose({theme: dark ? "light" : "dark"});
  });
  // On paper nothing can be opened: what was closed is opened for it.
  let closed = [];
  window.addEventListener("beforeprint", () => { closed = every("main details:not([open])"); for (const one of closed) one.open = true; });
  window.addEventListener("afterprint", () => { for (const one of closed) one.open = false; });

  return {data, $, every, distinct, rows, address, choices, clear, draw, markAll, duration, percent, cell, keys, step, follow, themes};
})();
