"use strict";
// Text from records is inserted only as textContent, never as markup.
const kept = { sorted: {}, chosen: {}, hidden: {}, open: {} }; // the reader's choices, kept when the page refreshes
const COLOURS = 7, SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "wye", "cross"], DASHES = ["", "6 3", "2 3", "9 3 2 3"];
let data = {};

function make(tag, properties = {}, ...children) {
  const { dataset, ...rest } = properties, element = Object.assign(document.createElement(tag), rest);
  Object.assign(element.dataset, dataset);
  element.append(...children);
  return element;
}

const colour = (system) => `var(--s${system % COLOURS})`;
const symbol = (system) => SYMBOLS[(system + Math.floor(system / COLOURS)) % SYMBOLS.length]; // a pair of colour and symbol repeats after 49
const dash = (system) => DASHES[Math.floor(system / COLOURS) % DASHES.length] || null;
const sectionId = (element) => element.closest("section.dataset").id;

function formatValue(value, kind) {
  if (value === null || value === undefined) return "";
  if (kind === "percent") return (100 * value).toFixed(2);
  if (kind === "number") return value.toLocaleString("en", { maximumSignificantDigits: 7 });
  const [size, unit] = value >= 3600 ? [3600, "h"] : value >= 60 ? [60, "min"] : [1, "s"];
  return `${(value / size).toFixed(value >= 60 ? 1 : 2)} ${unit}`;
}

// --- tables --------------------------------------------------------------------------------------------------------------

function sort(table, column, direction) {
  const body = table.tBodies[0], number = (text) => (text === "" || Number.isNaN(Number(text)) ? text : Number(text));
  const rows = [...body.rows].map((row) => [row, number(row.cells[column].dataset.order ?? row.cells[column].textContent)]);
  const compare = (one, other) => (typeof one === typeof other ? (one < other ? -1 : one > other ? 1 : 0) : typeof one === "number" ? -1 : 1);
  rows.sort(([, one], [, other]) => (one === "" || other === "" ? (one === "") - (other === "") : direction * compare(one, other)));
  body.append(...rows.map(([row]) => row));
  [...table.tHead.rows[0].cells].forEach((cell, index) => {
    if (index === column) cell.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    else cell.removeAttribute("aria-sort");
  });
  setTabStops(table);
}

function sortable(table) {
  const id = table.parentElement.id;
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    cell.firstElementChild.addEventListener("click", () => {
      const numeric = [...table.tBodies[0].rows].some((row) => row.cells[column].dataset.order && !Number.isNaN(Number(row.cells[column].dataset.order)));
      const before = cell.getAttribute("aria-sort"), direction = before ? (before === "ascending" ? -1 : 1) : numeric ? -1 : 1;
      kept.sorted[id] = [cell.textContent, direction];
      sort(table, column, direction);
    });
    if (kept.sorted[id]?.[0] === cell.textContent) sort(table, column, kept.sorted[id][1]);
  });
}

// Each table has one tab stop; arrow keys move between its figures.
function setTabStops(table) {
  table.querySelectorAll("button.figure").forEach((button, index) => (button.tabIndex = index ? -1 : 0));
}

function moveFocus(event) {
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  const cell = event.target.closest("td");
  if (!steps || !cell || !event.target.matches("button.figure")) return;
  event.preventDefault();
  const rows = [...cell.closest("tbody").rows];
  let row = rows.indexOf(cell.parentElement), column = cell.cellIndex, next = null;
  while (!next) {
    row += steps[0];
    column += steps[1];
    if (!rows[row]?.cells[column]) return;
    next = rows[row].cells[column].querySelector("button.figure");
  }
  event.target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function show(select) {
  for (const option of select.options) document.getElementById(option.value).hidden = option.value !== select.value;
}

// What the bootstrap says of row − column, in words, and whether the difference is sure.
function tested(tests, row, column) {
  const found = tests[`${Math.min(row, column)} ${Math.max(row, column)}`];
  if (!found) return ["", false];
  const [low, high, p, corrected] = found, [from, to] = row < column ? [low, high] : [-high, -low], number = Object.keys(tests).length;
  const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(1);
  const after = number > 1 ? `, ${corrected.toFixed(3)} corrected for ${number} pairs` : "";
  return [`95 % from ${signed(from)} to ${signed(to)}, p = ${p.toFixed(3)}${after}`, corrected < 0.05];
}

function pairs(area) {
  const section = sectionId(area), { systems, pairs: found } = data[section], { key, rows, tests } = found[document.getElementById(`${section}-pair`).value];
  const table = make("table", { className: "pairs" }), head = table.createTHead().insertRow(), body = table.createTBody();
  const points = rows.map((texts) => texts.map((text) => Number(text.replace("−", "-")) || 0)), most = d3.max(points.flat(), Math.abs) || 1;
  for (const label of ["row − column", ...systems.map((system) => system.label)]) head.append(make("th", { scope: "col" }, make("span", { textContent: label })));
  rows.forEach((texts, row) => {
    const line = body.insertRow();
    line.append(make("th", { scope: "row", textContent: systems[row].label }));
    texts.forEach((text, column) => {
      const [said, sure] = tested(tests, row, column);
      const figure = text && make("button", { type: "button", className: sure ? "figure sure" : "figure", textContent: text, title: said, dataset: { key, systems: `${row} ${column}`, test: said } });
      line.append(make("td", { className: `tint${Math.round((3 * points[row][column]) / most)}` }, figure));
    });
  });
  area.replaceChildren(table);
  setTabStops(table);
}

// --- the runs behind a figure --------------------------------------------------------------------------------------------

function commandLine(line) {
  return make("div", { className: "command" }, make("pre", {}, make("code", { textContent: line })), make("button", { type: "button", className: "copy", textContent: "Copy" }));
}

function origin(button) {
  const { systems, runs, keys } = data[sectionId(button)], { key } = button.dataset;
  const position = keys.findIndex(([name]) => name === key), [, kind, about] = keys[position];
  const chosen = button.dataset.systems.split(" ").map(Number), every = chosen.length === systems.length && chosen.length > 2;
  const floor = key.startsWith("popularity "), labels = floor ? "popularity" : every ? "all systems" : chosen.map((index) => systems[index].label).join(" − ");
  const parts = [make("h2", { id: "origin-title", textContent: labels }), make("p", { className: "value", textContent: button.textContent }), make("p", { className: "note", textContent: about })];
  if (button.dataset.test) parts.push(make("p", { className: "note", textContent: `${button.dataset.test}; paired bootstrap of test documents and seeds` }));
  for (const index of chosen) {
    const own = runs.filter((run) => run.system === index), table = make("table"), head = table.createTHead().insertRow(), body = table.createTBody();
    if (chosen.length > 1) parts.push(make("h3", { textContent: systems[index].label }));
    for (const heading of ["seed", kind === "percent" ? "percent" : "value", "run", "date", "commit", "device"]) head.append(make("th", { scope: "col", textContent: heading }));
    for (const run of own) {
      const row = body.insertRow(), texts = [run.seed, formatValue(run.figures[position], kind), run.id, run.date.slice(0, 16).replace("T", " "), run.commit || "unknown", run.device];
      texts.forEach((text, column) => row.append(make("td", { textContent: text, className: column === 1 ? "number" : "" })));
    }
    parts.push(make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: `Runs of ${systems[index].label}` }, table), ...systems[index].commands.map(commandLine));
    for (const versions of new Set(own.map((run) => run.versions))) parts.push(make("p", { className: "note", textContent: versions }));
  }
  const dialog = document.getElementById("origin");
  dialog.lastElementChild.replaceChildren(...parts);
  dialog.showModal();
  dialog.scrollTop = 0;
}

async function copy(button) {
  const code = button.parentElement.querySelector("code");
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  } catch {
    getSelection().selectAllChildren(code); // without access to the clipboard, select the line instead
  }
}

// --- charts --------------------------------------------------------------------------------------------------------------

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

function spread(section, key) {
  const { systems, runs, keys } = data[section], position = keys.findIndex(([name]) => name === key);
  return systems.map((_, index) => {
    const values = runs.filter((run) => run.system === index).map((run) => run.figures[position]);
    const whole = values.length && values.every((value) => value !== null && value !== undefined);
    return whole ? { system: index, y: 100 * mean(values), low: 100 * Math.min(...values), high: 100 * Math.max(...values) } : null;
  });
}

// The table of all values in the learning curves, a column for each run.
function values(figure, section, key) {
  const own = data[section].runs.filter((run) => run.history[key]), table = make("table"), head = table.createTHead().insertRow(), body = table.createTBody();
  for (const heading of ["epoch", ...own.map((run) => `${data[section].systems[run.system].label}, seed ${run.seed}`)]) head.append(make("th", { scope: "col", textContent: heading }));
  for (const index of d3.range(d3.max(own, (run) => run.history[key].length) ?? 0)) {
    const row = body.insertRow();
    row.append(make("th", { scope: "row", textContent: index + 1 }));
    for (const run of own) {
      const value = run.history[key][index] ?? null;
      row.append(make("td", { textContent: value === null ? "" : key === "loss" ? value.toFixed(4) : (100 * value).toFixed(1) }));
    }
  }
  figure.querySelector("details .scroll").replaceChildren(table);
}

// Points of each system in order, joined by a line, with bars over seeds.
function joined(section, hidden, points, about) {
  const { systems } = data[section], shown = points.filter((point) => !hidden.has(point.system)), marks = [];
  for (const [system, own] of d3.group(shown, (point) => point.system)) {
    marks.push(Plot.line(own, { x: "x", y: "y", stroke: colour(system), strokeDasharray: dash(system), strokeWidth: 1.75 }));
    marks.push(Plot.ruleX(own, { x: "x", y1: "low", y2: "high", stroke: colour(system), strokeWidth: 1.5, strokeOpacity: 0.5 }));
    marks.push(Plot.dot(own, { x: "x", y: "y", fill: colour(system), symbol: symbol(system), r: 3 }));
  }
  const title = (point) => `${systems[point.system].label}\n${about(point)} ${point.y.toFixed(1)} %`;
  return [...marks, Plot.tip(shown, Plot.pointer({ x: "x", y: "y", title }))];
}

const CHARTS = {
  curves(section, hidden) {
    const key = document.getElementById(`${section}-curve`).value, by = document.getElementById(`${section}-by`).value;
    const { systems, runs } = data[section], scale = key === "loss" ? 1 : 100, marks = [], tips = [];
    const longest = Math.max(...runs.map((run) => run.history.seconds?.at(-1) ?? 0)), minutes = longest > 300;
    const used = systems.map((_, index) => runs.some((run) => run.system === index && run.history[key]));
    systems.forEach(({ label }, system) => {
      const own = runs.filter((run) => run.system === system && run.history[key]);
      if (!own.length || hidden.has(system)) return;
      const time = (run, index) => (by === "epoch" ? run.history.epoch[index] : run.history.seconds[index] / (minutes ? 60 : 1));
      const style = { x: "x", y: "y", stroke: colour(system), strokeDasharray: dash(system) };
      for (const run of own) {
        const points = run.history[key].map((value, index) => ({ x: time(run, index), y: value === null ? NaN : scale * value, system, seed: run.seed, label }));
        if (own.length > 1) marks.push(Plot.line(points, { ...style, strokeWidth: 1, strokeOpacity: 0.35 }));
        const best = run.history.monitor.indexOf(Math.max(...run.history.monitor));
        marks.push(Plot.dot([points[best]], { x: "x", y: "y", fill: colour(system), symbol: symbol(system), r: 3.5 }));
        if (own.length === 1) tips.push(...points);
      }
      const shared = Math.min(...own.map((run) => run.history[key].length));
      const means = d3.range(shared).map((index) => ({ x: mean(own.map((run) => time(run, index))), y: scale * mean(own.map((run) => run.history[key][index])), system, label }));
      marks.push(Plot.line(means, { ...style, strokeWidth: 2.25 }));
      if (own.length > 1) tips.push(...means);
    });
    const x = by === "epoch" ? "epoch" : minutes ? "minutes of training" : "seconds of training";
    const title = (point) => `${point.label}\n${x} ${d3.format(by === "epoch" ? "d" : ".1f")(point.x)}\n${scale === 1 ? point.y.toFixed(4) : `${point.y.toFixed(1)} %`}`;
    marks.push(Plot.tip(tips, Plot.pointer({ x: "x", y: "y", title })));
    return { used, options: { x: { label: x }, y: { label: scale === 1 ? "loss" : "percent", grid: true, zero: scale === 1 }, marks } };
  },

  buckets(section, hidden, width) {
    const select = document.querySelector(`#${section} [data-chart=buckets] ~ .choice select`);
    const table = document.getElementById(select ? select.value : document.querySelector(`#${section} [data-chart=buckets] ~ .scroll`).id).querySelector("table");
    const names = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent), { systems, keys } = data[section];
    const buckets = [...new Set([...table.querySelectorAll("button.figure")].map((button) => button.dataset.key))];
    const shown = systems.map((_, index) => index).filter((index) => !hidden.has(index));
    const gap = Math.min(14 / (width / names.length), 0.75 / Math.max(shown.length, 1)), marks = [Plot.ruleY([0])]; // as a fraction of a bucket's width
    const points = keys.filter(([key]) => buckets.includes(key)).flatMap(([key]) => {
      const name = /\[(.+)\]$/.exec(key)[1].replace("-", "–"), x = names.indexOf(name);
      return spread(section, key).flatMap((point) => {
        const place = point ? shown.indexOf(point.system) : -1;
        return place < 0 ? [] : [{ ...point, name, x: x + gap * (place - (shown.length - 1) / 2) }];
      });
    });
    for (const point of points) {
      marks.push(Plot.ruleX([point], { x: "x", y1: "low", y2: "high", stroke: colour(point.system), strokeWidth: 1.5, strokeOpacity: 0.6 }));
      marks.push(Plot.dot([point], { x: "x", y: "y", fill: colour(point.system), symbol: symbol(point.system), r: 4 }));
    }
    const title = (point) => `${systems[point.system].label}\n${point.name} documents\n${point.y.toFixed(1)} % (${point.low.toFixed(1)} to ${point.high.toFixed(1)})`;
    marks.push(Plot.tip(points, Plot.pointer({ x: "x", y: "y", title })));
    const x = { domain: [-0.5, names.length - 0.5], ticks: d3.range(names.length), tickFormat: (index) => names[index], tickSize: 0, label: "training documents with the code" };
    return { used: systems.map(() => true), options: { x, y: { label: "percent", grid: true, zero: true }, marks } };
  },

  reliability(section, hidden) {
    const { systems, keys } = data[section], named = (bin, what) => spread(section, `analysis reliability/${bin}/${what}`);
    const bins = keys.flatMap(([key]) => /^analysis reliability\/(\d+)\/mean$/.exec(key)?.[1] ?? []);
    const diagonal = Plot.line([[0, 0], [100, 100]], { stroke: "currentColor", strokeOpacity: 0.4, strokeDasharray: "3 3" });
    const points = bins.flatMap((bin) => {
      const means = named(bin, "mean");
      return named(bin, "share").flatMap((point, index) => (point && means[index] ? [{ ...point, x: means[index].y, name: `bin ${bin}` }] : []));
    });
    const x = { label: "mean probability, percent", domain: [0, 100], grid: true }, y = { label: "share with the code, percent", domain: [0, 100], grid: true };
    return { used: systems.map(() => true), options: { x, y, marks: [diagonal, ...joined(section, hidden, points, (point) => `${point.name}: probability ${point.x.toFixed(1)} %, share`)] } };
  },

  thresholds(section, hidden) {
    const { systems, keys } = data[section], metric = document.getElementById(`${section}-average`).value;
    const points = keys.flatMap(([key]) => {
      const found = /^analysis thresholds\/([\d.]+)\/(\w+)$/.exec(key);
      return found?.[2] === metric ? spread(section, key).flatMap((point) => (point ? [{ ...point, x: Number(found[1]) }] : [])) : [];
    });
    const x = { label: "decision threshold", domain: [0, 1], grid: true };
    return { used: systems.map(() => true), options: { x, y: { label: "percent", grid: true, zero: true }, marks: joined(section, hidden, points, (point) => `threshold ${point.x}:`) } };
  },

  fractions(section, hidden) {
    const { systems, fractions } = data[section], points = fractions[document.getElementById(`${section}-fraction`).value];
    const used = systems.map((_, index) => points.some((point) => point.system === index));
    const x = { label: "training documents", grid: true, zero: true };
    return { used, options: { x, y: { label: "percent", grid: true, zero: true }, marks: joined(section, hidden, points, (point) => `${point.x} documents:`) } };
  },

  cost(section, hidden) {
    const { systems, columns, keys, runs } = data[section], chosen = document.getElementById(`${section}-quality`).value;
    const position = keys.findIndex(([name]) => name === "timing train"), marks = [];
    const points = spread(section, chosen).filter((point) => point && !hidden.has(point.system));
    for (const point of points) {
      point.seconds = mean(runs.filter((run) => run.system === point.system).map((run) => run.figures[position]));
      point.x = Math.log10(Math.max(point.seconds, 0.001));
      point.label = systems[point.system].label;
      marks.push(Plot.ruleX([point], { x: "x", y1: "low", y2: "high", stroke: colour(point.system), strokeWidth: 1.5, strokeOpacity: 0.6 }));
      marks.push(Plot.dot([point], { x: "x", y: "y", fill: colour(point.system), symbol: symbol(point.system), r: 6 }));
    }
    const title = (point) => `${point.label}\n${formatValue(point.seconds, "seconds")} of training\n${point.y.toFixed(1)} %`;
    marks.push(Plot.tip(points, Plot.pointer({ x: "x", y: "y", title })));
    const heading = columns.find(([, key]) => key === chosen)[0];
    const ticks = [0.01, 0.1, 1, 10, 60, 600, 3600, 36000, 86400, 864000].map(Math.log10), [low, high] = d3.extent(points, (point) => point.x);
    const domain = points.length ? [low - 0.2, high + 0.2] : [0, 1];
    const text = (value) => (value < 60 ? `${value} s` : value < 3600 ? `${value / 60} min` : value < 86400 ? `${value / 3600} h` : `${value / 86400} d`);
    return { used: systems.map(() => true), options: { x: { label: "training time of a run, logarithmic", domain, ticks: ticks.filter((tick) => tick >= domain[0] && tick <= domain[1]), tickFormat: (tick) => text(Number((10 ** tick).toPrecision(3))), grid: true }, y: { label: `${heading}, percent`, grid: true, nice: true }, marks } };
  },
};

function draw(figure) {
  if (figure.dataset.chart === "pairs") return pairs(figure);
  const { chart, section } = figure.dataset, area = figure.querySelector(".plot-area"), width = Math.floor(area.clientWidth);
  if (!width) return;
  const hidden = (kept.hidden[section] ??= new Set()), at = new Set(data[section].systems.flatMap(({ label }, index) => (hidden.has(label) ? [index] : [])));
  const { used, options } = CHARTS[chart](section, at, width - 60);
  const svg = Plot.plot({ className: "plot", width, height: Math.round(Math.min(400, Math.max(260, width * 0.55))), marginLeft: 44, marginRight: 12, marginTop: 28, marginBottom: 40, ...options });
  svg.querySelectorAll("g[aria-label]").forEach((group) => group.removeAttribute("aria-label")); // the chart as a whole has a label
  area.replaceChildren(svg);
  if (chart === "curves") values(figure, section, document.getElementById(`${section}-curve`).value);
  figure.querySelectorAll(".legend label").forEach((label, index) => (label.hidden = !used[index]));
}

function legend(figure) {
  const { section } = figure.dataset, hidden = (kept.hidden[section] ??= new Set());
  figure.querySelectorAll(".legend label").forEach((label, index) => {
    const box = label.querySelector("input"), { label: name } = data[section].systems[index], swatch = d3.select(label.querySelector("svg"));
    const shape = { circle: d3.symbolCircle, square: d3.symbolSquare, triangle: d3.symbolTriangle, diamond: d3.symbolDiamond, star: d3.symbolStar, wye: d3.symbolWye, cross: d3.symbolCross }[symbol(index)];
    swatch.append("line").attr("x1", 0).attr("x2", 28).attr("y1", 7).attr("y2", 7).attr("stroke", colour(index)).attr("stroke-width", 2).attr("stroke-dasharray", dash(index));
    swatch.append("path").attr("d", d3.symbol(shape, 50)()).attr("transform", "translate(14,7)").attr("fill", colour(index));
    box.checked = !hidden.has(name);
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(name);
      else hidden.add(name);
      document.querySelectorAll(`#${section} .chart`).forEach((other) => {
        other.querySelectorAll(".legend input")[index].checked = box.checked;
        draw(other);
      });
    });
  });
}

// --- the page ------------------------------------------------------------------------------------------------------------

function begin() {
  const printable = (_, value) => (typeof value === "string" ? value.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, " ") : value); // as in the template
  data = JSON.parse(document.getElementById("data").textContent, printable);
  document.querySelectorAll("table").forEach(setTabStops);
  document.querySelectorAll("table.sortable").forEach(sortable);
  document.querySelectorAll("main select").forEach((select) => {
    if ([...select.options].some((option) => option.value === kept.chosen[select.id])) select.value = kept.chosen[select.id];
    else select.selectedIndex = Math.max([...select.options].findIndex((option) => option.defaultSelected), 0); // browsers restore choices without firing change events
    if ("shows" in select.dataset) show(select);
    select.addEventListener("change", () => {
      kept.chosen[select.id] = select.value;
      if ("shows" in select.dataset) show(select);
      document.querySelectorAll(`#${sectionId(select)} [data-chart="${select.dataset.draws}"]`).forEach(draw);
    });
  });
  document.querySelectorAll("main details").forEach((details) => {
    const id = `${sectionId(details)} ${details.dataset.name}`;
    if (kept.open[id]) details.open = true;
    details.addEventListener("toggle", () => (kept.open[id] = details.open));
  });
  document.querySelectorAll("[data-chart=pairs]").forEach(pairs);
  const wider = new ResizeObserver((entries) => entries.forEach(({ target }) => draw(target)));
  document.querySelectorAll(".chart").forEach((figure) => {
    legend(figure);
    draw(figure);
    wider.observe(figure);
  });
}

document.addEventListener("keydown", moveFocus);
document.addEventListener("click", (event) => {
  const button = event.target.closest("button"), dialog = document.getElementById("origin");
  if (button?.matches(".figure")) origin(button);
  else if (button?.matches(".copy")) copy(button);
  else if (event.target === dialog && !dialog.matches(":hover > *")) dialog.close(); // a click outside of it
});
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => (details.open = true)));
begin();

// A served page checks for new records every two seconds and updates itself in place.
async function refresh() {
  const main = document.getElementById("content"), status = document.getElementById("status");
  try {
    if (document.visibilityState === "visible" && !document.getElementById("origin").open) {
      const version = await (await fetch("version", { cache: "no-store" })).text();
      if (version !== main.dataset.version) {
        const fresh = new DOMParser().parseFromString(await (await fetch("./", { cache: "no-store" })).text(), "text/html");
        const focused = document.activeElement?.id, top = scrollY;
        main.replaceWith(document.adoptNode(fresh.getElementById("content")));
        document.title = fresh.title;
        begin();
        scrollTo({ top, behavior: "instant" });
        if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
        status.textContent = `Updated ${new Date().toLocaleTimeString()}`;
      } else if (status.textContent.startsWith("The server")) status.textContent = "";
    }
  } catch {
    status.textContent = "The server has stopped; this page is no longer updated.";
  }
  setTimeout(refresh, 2000);
}
if (document.getElementById("content").dataset.version) setTimeout(refresh, 2000);
