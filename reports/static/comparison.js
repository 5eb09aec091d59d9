"use strict";
// The comparison's behaviour: draw the charts, show the parts of the chosen point, follow the choice.
// Names from a trace are only ever text content and data values.
(() => {
  const {data, $, every, distinct, rows, address, choices, clear, draw, markAll, duration, percent, cell} = page;
  const points = rows(data.points);
  const components = rows(data.components);
  const parts = rows(data.parts);

  // -- what is chosen

  const state = {series: "", length: "", level: "operator", sort: "change", filter: "", theme: "", up: false, all: false};
  const WORDS = {
    level: distinct(parts.map((row) => row.level)), theme: ["", "light", "dark"],
    sort: every("th[data-column]").map((th) => th.dataset.column),
  };
  const {recall, remember} = address(state, {free: ["series", "length", "filter"], words: WORDS, flags: ["up", "all"]});
  const choose = (change) => { Object.assign(state, change); show(); remember(); };
  const chosen = () => points.find((row) => row.series === state.series && row.pick === state.length);
  const place = (point) => `${point.series} at ${point.pick} ${point.unit}`.trim().replace(/ at whole trace$/, "");

  // -- charts

  const mark = (view) => view.signal("chosen_series", state.series).signal("chosen_length", state.length);
  const picked = (row) => {
    if (points.some((one) => one.series === row.series && one.pick === row.pick)) choose({series: row.series, length: row.pick});
  };
  const drawCharts = () => {
    for (const element of every("[data-chart]")) {
      const spec = data.charts[element.dataset.chart];
      draw(element, spec, spec.datasets, {mark, picked});
    }
  };
  let drawnPoint = -1;
  const drawParts = () => {
    const point = chosen();
    if (!point || point.point === drawnPoint) return;
    drawnPoint = point.point;
    for (const element of every("[data-parts]")) {
      const {parts: level, spec: name} = element.dataset;
      const own = components.filter((row) => row.point === point.point && row.level === level);
      const spec = data.specs[level][name];
      const height = name === "waterfall" ? data.step * own.length : spec.height;
      if (!own.length) clear(element, "The parts of this point are not known.");
      else if (name === "waterfall" && own.every((row) => row.start === 0 && row.end === 0)) clear(element, "Nothing changed here.");
      else draw(element, {...spec, height}, {parts: own.map((row) => ({...row}))}, {mark, picked});
    }
  };

  // -- the table of parts

  const UNITS = [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"], [1, "B"]];
  const bytes = (size) => {
    const [one, unit] = UNITS.find(([s]) => Math.abs(size) >= s) || UNITS[3];
    const value = size / one;
    return `${one === 1 ? value : value.toLocaleString("en", {maximumSignificantDigits: 3, minimumSignificantDigits: 3})} ${unit}`;
  };
  const amount = (value) => (state.level === "memory" ? bytes(value) : duration(value));
  const signed = (value) => (value < 0 ? amount(value) : `+${amount(value)}`);
  const count = (calls) => calls.toLocaleString("en", {maximumFractionDigits: 2});
  const callsOf = (row) => {
    if (row.base_calls === null || row.rest || row.base_calls === undefined) return "";
    return row.base_calls === row.new_calls ? count(row.new_calls) : `${count(row.base_calls)} → ${count(row.new_calls)}`;
  };
  const OTHERWISE = {calls: "other calls", shapes: "shapes", dtypes: "types"};
  const otherwise = (row) => {
    const word = OTHERWISE[row.status] || row.status || "";
    return row.status === "shapes" || row.status === "dtypes" ? `${word}: ${row.detail}` : word;
  };
  const line = (row) => {
    const tr = document.createElement("tr");
    const name = cell(row.name);
    name.title = row.name;
    if (row.rest) tr.className = "rest";
    else if (row.lo > 0) tr.className = "more";
    else if (row.hi < 0) tr.className = "less";
    const interval = row.lo === null || row.lo === undefined ? "" : `${signed(row.lo)} to ${signed(row.hi)}`;
    const share = row.share === null || row.share === undefined ? "" : percent(row.share);
    tr.append(name, cell(row.component || ""), cell(amount(row.base)), cell(amount(row.new)), cell(signed(row.change)),
      cell(interval), cell(share), cell(callsOf(row)), cell(otherwise(row)));
    return tr;
  };
  const SUMS = ["base", "new", "change", "share"];
  const sumOf = (list, row) => {
    for (const key of SUMS) row[key] = list.reduce((total, one) => total + one[key], 0);
    if (list.some((one) => one.share === null)) row.share = null;
    return row;
  };
  const worth = (row) => (state.sort === "change" || state.sort === "share" ? Math.abs(row[state.sort]) : row[state.sort]);
  const sorted = (list) => list.sort((a, b) => {
    const [x, y] = [worth(a), worth(b)];
    return (state.up ? 1 : -1) * (typeof x === "number" ? x - y : String(x).localeCompare(String(y)));
  });
  const fillParts = () => {
    const table = $("parts-table");
    if (!table) return;
    const point = chosen();
    const all = parts.filter((row) => point && row.point === point.point && row.level === state.level);
    const wanted = state.filter.toLowerCase();
    const found = all.filter((row) => !wanted || `${row.name} ${row.component} ${otherwise(row)}`.toLowerCase().includes(wanted));
    const own = sorted(found.filter((row) => !row.rest));
    const short = !state.all && !wanted && own.length > data.few + 3;
    const hidden = short ? own.slice(data.few) : [];
    const left = [...hidden, ...found.filter((row) => row.rest)];
    const more = left.reduce((total, row) => total + (row.rest || 1), 0);
    const shown = hidden.length ? own.slice(0, data.few) : own;
    const body = [...shown, ...(left.length ? [sumOf(left, {name: `${more} more`, rest: more})] : [])];
    table.tBodies[0].replaceChildren(...body.map(line));
    if (!all.length) table.tBodies[0].append(document.createElement("tr").appendChild(cell("None are known at this point.")).parentElement);
    table.tFoot.replaceChildren(...(found.length ? [line(sumOf(found, {name: wanted ? "total of the filtered rows" : "total"}))] : []));
    const absent = {1: all.every((row) => !row.component), 7: all.every((row) => !callsOf(row)), 8: all.every((row) => !otherwise(row))};
    for (const tr of table.rows) for (const [at, empty] of Object.entries(absent)) if (tr.cells[at]) tr.cells[at].hidden = empty;
    for (const th of every("th[data-column]"))
      if (th.dataset.column === state.sort) th.setAttribute("aria-sort", state.up ? "ascending" : "descending");
      else th.removeAttribute("aria-sort");
    $("all").hidden = !hidden.length && !(state.all && !wanted && own.length > data.few + 3);
    $("all").textContent = hidden.length ? `Show ${hidden.length} more` : "Show fewer";
  };

  // -- the page

  const show = () => {
    const series = distinct(points.map((row) => row.series));
    if (!series.includes(state.series)) state.series = series[0] || "";
    const lengths = points.filter((row) => row.series === state.series).map((row) => row.pick);
    if (!lengths.includes(state.length)) state.length = lengths[lengths.length - 1] || "";
    choices($("series"), series, state.series);
    choices($("length"), lengths, state.length);
    if (state.theme) document.documentElement.dataset.theme = state.theme;
    const point = chosen();
    for (const one of every("[data-chosen]")) one.textContent = point ? `${point.told ? `${point.told} ` : ""}of ${place(point)}` : "";
    for (const one of every("[data-chosen-memory]")) one.textContent = point ? `of ${place(point)}` : "";
    for (const tr of every("tr[data-point]")) tr.classList.toggle("chosen", Boolean(point) && Number(tr.dataset.point) === point.point);
    if ($("level")) {
      if (!WORDS.level.includes(state.level)) state.level = $("level").options[0].value;
      $("level").value = state.level;
      $("level").parentElement.hidden = $("level").options.length < 2;
      if ($("filter").value !== state.filter) $("filter").value = state.filter;
    }
    fillParts();
    drawParts();
    markAll(mark);
  };

  $("series").addEventListener("change", (event) => choose({series: event.target.value}));
  $("length").addEventListener("change", (event) => choose({length: event.target.value}));
  if ($("level")) {
    $("level").addEventListener("change", (event) => choose({level: event.target.value}));
    $("filter").addEventListener("input", (event) => choose({filter: event.target.value}));
    $("all").addEventListener("click", () => choose({all: !state.all}));
  }
  for (const button of every("[data-choose]"))
    button.addEventListener("click", () => {
      const {series, pick} = points[Number(button.dataset.choose)];
      choose({series, length: pick});
    });
  for (const th of every("th[data-column]"))
    th.firstElementChild.addEventListener("click", () => {
      const column = th.dataset.column;
      choose({up: state.sort === column ? !state.up : ["name", "component", "status"].includes(column), sort: column});
    });
  page.themes(state, choose);
  const step = (select, by) => page.step(select, by, choose);
  const KEYS = {
    "[": () => step("series", -1), "]": () => step("series", 1), ",": () => step("length", -1), ".": () => step("length", 1),
    "/": () => $("filter") && $("filter").focus(),
  };
  page.keys(KEYS);
  page.follow(() => { recall(); show(); });

  // What changed most is shown first.
  const first = points.find((row) => row.point === data.first);
  if (first) Object.assign(state, {series: first.series, length: first.pick});
  recall();
  drawCharts();
  show();
})();
