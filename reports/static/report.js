"use strict";
// The page's behaviour: draw the charts, fill the operator table, keep the choice in the address.
// Names from a trace are only ever text content and data values.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const refuse = () => Promise.reject(new Error("this page loads nothing"));
  const loader = Object.assign(vega.loader(), {load: refuse, http: refuse, file: refuse, sanitize: refuse});
  const options = {
    ast: true, renderer: "svg", loader, defaultStyle: true, downloadFileName: "tracekit",
    actions: {export: {svg: true, png: true}, source: false, compiled: false, editor: false},
    tooltip: {theme: "custom"},
  };

  const rows = (table) => {
    const names = Object.keys(table);
    const length = names.length ? table[names[0]].length : 0;
    return Array.from({length}, (_, i) => {
      const row = Object.create(null);
      for (const name of names) row[name] = table[name][i];
      return row;
    });
  };
  // Legends do not wrap by themselves: one column where two would not fit.
  const fitted = (config, width) => {
    const columns = width < 560 ? 1 : 2;
    return {...config, legend: {...config.legend, columns, labelLimit: Math.max(60, width / columns - 100)}};
  };
  const draw = (element, spec, name, values) =>
    vegaEmbed(element, {
      ...spec, config: fitted(spec.config, element.clientWidth), datasets: {[name]: values.map((row) => ({...row}))},
    }, options)
      .catch((error) => { element.textContent = `This chart could not be drawn: ${error.message}`; });

  for (const element of document.querySelectorAll("[data-curve]")) {
    const curve = data.curves[element.dataset.curve];
    draw(element, curve.spec, element.dataset.curve, curve.rows);
  }

  const bars = rows(data.components.table);
  const operators = rows(data.operators);
  const distinct = (values) => [...new Set(values)];
  const state = {series: "", length: "", unit: "time", kind: "operator", sort: "self_ns", up: false, filter: ""};

  const drawComponents = () => {
    for (const element of document.querySelectorAll("[data-series]")) {
      const own = bars.filter((row) => row.series === element.dataset.series);
      draw(element, data.components[state.unit], "bars", own);
    }
    for (const button of document.querySelectorAll("[data-unit]"))
      button.setAttribute("aria-pressed", String(button.dataset.unit === state.unit));
  };

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
      chip.className = "chip";
      chip.style.background = data.colours[row.component] || data.colours.other;
      component.append(chip, row.component);
    }
    const name = cell(row.name);
    name.title = row.name;
    tr.append(name, component, cell(row.calls.toLocaleString("en")), cell(duration(row.self_ns)),
      cell(row.kind === "total" ? "" : duration(row.total_ns)), cell(duration(row.device_ns)), cell(percent(row.share)));
    return tr;
  };

  const SUMS = ["calls", "self_ns", "total_ns", "device_ns", "share"];
  const KINDS = {annotation: "ranges, between operators", python: "Python frames, between operators", runtime: "runtime calls"};
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
      {name: KINDS[kind] || kind, kind, component: "", rest: true}))];
  };

  const fillOperators = () => {
    const all = operators.filter((row) => row.series === state.series && row.length_text === state.length);
    const own = state.kind === "all" ? all : folded(all);
    const wanted = state.filter.toLowerCase();
    const matches = own.filter((row) => !wanted || `${row.name} ${row.component} ${row.kind}`.toLowerCase().includes(wanted));
    const direction = state.up ? 1 : -1;
    matches.sort((a, b) => {
      if (a.rest !== b.rest) return a.rest ? 1 : -1;
      const [x, y] = [a[state.sort], b[state.sort]];
      return direction * (typeof x === "number" ? x - y : String(x).localeCompare(String(y)));
    });
    const table = $("operator-table");
    table.tBodies[0].replaceChildren(...matches.map(line));
    const total = sumOf(matches, {name: wanted ? "total of the filtered rows" : "total", kind: "total", component: ""});
    table.tFoot.replaceChildren(line(total));
    const device = all.some((row) => row.device_ns > 0);
    for (const tr of table.rows) tr.cells[5].hidden = !device;
    for (const th of table.querySelectorAll("th[data-column]"))
      if (th.dataset.column === state.sort) th.setAttribute("aria-sort", state.up ? "ascending" : "descending");
      else th.removeAttribute("aria-sort");
  };

  const choices = (select, values, chosen) => {
    select.replaceChildren(...values.map((value) => new Option(value, value, false, value === chosen)));
  };
  const lengthsOf = (series) => distinct(operators.filter((row) => row.series === series).map((row) => row.length_text));

  const show = () => {
    const series = distinct(operators.map((row) => row.series));
    if (!series.includes(state.series)) state.series = series[0] || "";
    const lengths = lengthsOf(state.series);
    if (!lengths.includes(state.length)) state.length = lengths[lengths.length - 1] || "";
    choices($("series"), series, state.series);
    choices($("length"), lengths, state.length);
    $("kind").value = state.kind;
    $("filter").value = state.filter;
    fillOperators();
  };
  const remember = () => {
    const words = new URLSearchParams();
    for (const key of ["series", "length", "unit", "kind", "sort", "filter"]) if (state[key]) words.set(key, state[key]);
    if (state.up) words.set("up", "1");
    history.replaceState(null, "", `#${words}`);
  };
  const recall = () => {
    const words = new URLSearchParams(location.hash.slice(1));
    for (const key of ["series", "length", "filter"]) if (words.has(key)) state[key] = words.get(key);
    if (["time", "share"].includes(words.get("unit"))) state.unit = words.get("unit");
    if (["operator", "all"].includes(words.get("kind"))) state.kind = words.get("kind");
    const columns = [...document.querySelectorAll("th[data-column]")].map((th) => th.dataset.column);
    if (columns.includes(words.get("sort"))) state.sort = words.get("sort");
    state.up = words.get("up") === "1";
  };

  $("series").addEventListener("change", (event) => { state.series = event.target.value; show(); remember(); });
  $("length").addEventListener("change", (event) => { state.length = event.target.value; show(); remember(); });
  $("kind").addEventListener("change", (event) => { state.kind = event.target.value; fillOperators(); remember(); });
  $("filter").addEventListener("input", (event) => { state.filter = event.target.value; fillOperators(); remember(); });
  for (const th of document.querySelectorAll("th[data-column]"))
    th.firstElementChild.addEventListener("click", () => {
      state.up = state.sort === th.dataset.column ? !state.up : th.dataset.column === "name" || th.dataset.column === "component";
      state.sort = th.dataset.column;
      fillOperators();
      remember();
    });
  for (const button of document.querySelectorAll("[data-unit]"))
    button.addEventListener("click", () => { state.unit = button.dataset.unit; drawComponents(); remember(); });
  window.addEventListener("hashchange", () => { recall(); drawComponents(); show(); });
  $("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  recall();
  drawComponents();
  show();
})();
