"use strict";
// The report's behaviour: draw the charts, fill the operator table, follow the choice.
// Names from a trace are only ever text content and data values.
(() => {
  const {data, $, every, distinct, rows, address, choices, clear, draw, markAll, duration, percent, cell} = page;
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
  const {recall, remember} = address(state, {free: ["series", "length", "phase", "filter"], words: WORDS, flags: ["up", "all"]});
  const choose = (change) => { Object.assign(state, change); show(); remember(); };

  // -- charts

  const mark = (view) => view.signal("chosen_series", state.series).signal("chosen_length", state.length);
  const shown = (element) => ({mark, picked: (row) => {
    if (typeof row.pick === "string") choose({series: row.series || element.dataset.series, length: row.pick});
  }});
  const drawCharts = () => {
    for (const element of every("[data-chart]")) {
      const spec = data.charts[element.dataset.chart];
      draw(element, spec, spec.datasets, shown(element));
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
      else draw(element, specs[state.unit], {bars: own.map((row) => ({...row}))}, shown(element));
    }
    for (const button of every("[data-unit]")) button.setAttribute("aria-pressed", String(button.dataset.unit === state.unit));
  };

  // -- the operator table

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
    markAll(mark);
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
  page.themes(state, choose);
  const step = (select, by) => page.step(select, by, choose);
  const KEYS = {
    "[": () => step("series", -1), "]": () => step("series", 1), ",": () => step("length", -1), ".": () => step("length", 1),
    "u": () => { choose({unit: WORDS.unit[(WORDS.unit.indexOf(state.unit) + 1) % WORDS.unit.length]}); drawComponents(); },
    "/": () => $("filter").focus(),
  };
  page.keys(KEYS);
  page.follow(() => { recall(); drawComponents(); show(); });
  recall();
  drawCharts();
  drawComponents();
  show();
})();
