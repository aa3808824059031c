"use strict";
// Charts and their legends. Of many systems, at first only the best and the floors are in colour; the others are grey, behind them.
const BEST = 6;
const COLOURS = 7, SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "wye", "cross"], DASHES = ["", "6 3", "2 3", "9 3 2 3"];
const colour = (system) => `var(--s${system % COLOURS})`;
const symbol = (system) => SYMBOLS[(system + Math.floor(system / COLOURS)) % SYMBOLS.length]; // a pair of colour and symbol repeats after 49
const GREY = { stroke: "var(--faint)", strokeOpacity: 0.4, strokeWidth: 1 }, GREY_DOT = { fill: "var(--faint)", fillOpacity: 0.4 };
const dash = (system) => DASHES[Math.floor(system / COLOURS) % DASHES.length] || null;

function spread(section, key) {
  return data[section].systems.map((_, index) => {
    const values = figures(section, key, index);
    const whole = values.length && values.every((value) => value !== null && value !== undefined);
    return whole ? { system: index, y: 100 * mean(values), low: 100 * Math.min(...values), high: 100 * Math.max(...values) } : null;
  });
}

// The table of all values in the learning curves, a column for each run.
function listValues(figure, section, key) {
  const own = data[section].runs.filter((run) => run.history[key]);
  const [table, body] = newTable(["epoch", ...own.map((run) => `${data[section].systems[run.system].label}, seed ${run.seed}`)]);
  for (const index of d3.range(d3.max(own, (run) => run.history[key].length) ?? 0)) {
    const row = body.insertRow();
    row.append(make("th", { scope: "row", textContent: index + 1 }));
    for (const run of own) {
      const value = run.history[key][index] ?? null;
      row.append(make("td", { textContent: value === null ? "" : key === "loss" ? value.toPrecision(4) : (100 * value).toFixed(1) }));
    }
  }
  figure.querySelector("details .scroll").replaceChildren(table);
}

// Ticks at whole numbers.
function wholeTicks(values, width) {
  const [low, high] = d3.extent(values);
  return { ticks: d3.ticks(low ?? 0, high ?? 1, Math.max(2, width / 90)).filter(Number.isInteger), tickFormat: "d" };
}

// The points of the systems that are chosen, and of those that are not.
const divided = (points, hidden) => [points.filter((point) => !hidden.has(point.system)), points.filter((point) => hidden.has(point.system))];

// The points of each system, joined by a line, with bars over seeds.
function joinedPoints(section, hidden, points, about) {
  const { systems } = data[section], [shown, others] = divided(points, hidden);
  const marks = [Plot.line(others, { x: "x", y: "y", z: "system", ...GREY })];
  for (const [system, own] of d3.group(shown, (point) => point.system)) {
    marks.push(Plot.line(own, { x: "x", y: "y", stroke: colour(system), strokeDasharray: dash(system), strokeWidth: 1.75 }));
    marks.push(Plot.ruleX(own, { x: "x", y1: "low", y2: "high", stroke: colour(system), strokeWidth: 1.5, strokeOpacity: 0.5 }));
    marks.push(Plot.dot(own, { x: "x", y: "y", fill: colour(system), symbol: symbol(system), r: 3 }));
  }
  const title = (point) => `${systems[point.system].label}\n${about(point)} ${point.y.toFixed(1)} %`;
  return [...marks, Plot.tip(points, Plot.pointer({ x: "x", y: "y", title }))];
}

const lastOf = (points, hidden) => d3.groups(divided(points, hidden)[0], (point) => point.system).map(([, own]) => own.at(-1));

// Names at the right of a chart, each tied to the end of its line and kept apart from its neighbours.
function nameEnds(svg, ends, section, left) {
  const x = svg.scale("x"), y = svg.scale("y"), names = ends.map((end) => ({ ...end, from: [x.apply(end.x), y.apply(end.y)], at: y.apply(end.y) }));
  names.sort((one, other) => one.at - other.at);
  names.forEach((name, index) => (name.at = Math.max(name.at, index ? names[index - 1].at + 14 : 0)));
  const over = Math.max(0, (names.at(-1)?.at ?? 0) - y.range[0]);
  names.reverse().forEach((name, index) => (name.at = Math.min(name.at, index ? names[index - 1].at - 14 : name.at - over)));
  for (const { system, from, at } of names) {
    const group = d3.select(svg).append("g").attr("class", "end-name");
    group.append("path").attr("d", d3.line()([[from[0] + 4, from[1]], [left, at], [left + 8, at]])).attr("fill", "none").attr("stroke", colour(system)).attr("stroke-opacity", 0.6);
    group.append("text").attr("x", left + 11).attr("y", at).attr("dy", "0.32em").attr("text-anchor", "start").attr("fill", "currentColor").text(data[section].systems[system].label);
  }
}

const CHARTS = {
  curves(section, hidden, width) {
    const key = document.getElementById(`${section}-curve`).value, by = document.getElementById(`${section}-by`).value;
    const { systems, runs } = data[section], scale = key === "loss" ? 1 : 100, marks = [], tips = [], ends = [];
    const longest = Math.max(...runs.map((run) => run.history.seconds?.at(-1) ?? 0)), minutes = longest > 300;
    const used = systems.map((_, index) => runs.some((run) => run.system === index && run.history[key]));
    const time = (run, index) => (by === "epoch" ? run.history.epoch[index] : run.history.seconds[index] / (minutes ? 60 : 1));
    const end = d3.max(runs.filter((run) => run.history[key] && !hidden.has(run.system)), (run) => time(run, run.history.epoch.length - 1)) ?? Infinity;
    systems.forEach(({ label }, system) => {
      const own = runs.filter((run) => run.system === system && run.history[key]);
      if (!own.length) return;
      const shared = Math.min(...own.map((run) => run.history[key].length));
      const means = d3.range(shared).map((index) => ({ x: mean(own.map((run) => time(run, index))), y: scale * mean(own.map((run) => run.history[key][index])), system, label }));
      if (hidden.has(system)) {
        const within = means.filter((point) => point.x <= end); // the chart ends with those that are chosen
        marks.unshift(Plot.line(within, { x: "x", y: "y", ...GREY }));
        tips.push(...within);
        return;
      }
      const style = { x: "x", y: "y", stroke: colour(system), strokeDasharray: dash(system) };
      for (const run of own) {
        const points = run.history[key].map((value, index) => ({ x: time(run, index), y: value === null ? NaN : scale * value, system, seed: run.seed, label }));
        if (own.length > 1) marks.push(Plot.line(points, { ...style, strokeWidth: 1, strokeOpacity: 0.35 }));
        const best = run.history.monitor.indexOf(Math.max(...run.history.monitor));
        marks.push(Plot.dot([points[best]], { x: "x", y: "y", fill: colour(system), symbol: symbol(system), r: 3.5 }));
        if (own.length === 1) tips.push(...points);
      }
      marks.push(Plot.line(means, { ...style, strokeWidth: 2.25 }));
      ends.push(means.at(-1));
      if (own.length > 1) tips.push(...means);
    });
    const x = by === "epoch" ? "epoch" : minutes ? "minutes of training" : "seconds of training";
    const title = (point) => `${point.label}\n${x} ${d3.format(by === "epoch" ? "d" : ".1f")(point.x)}\n${scale === 1 ? point.y.toFixed(4) : `${point.y.toFixed(1)} %`}`;
    marks.push(Plot.tip(tips, Plot.pointer({ x: "x", y: "y", title })));
    const axis = by === "epoch" ? wholeTicks([1, Number.isFinite(end) ? end : d3.max(tips, (point) => point.x)], width) : {};
    return { used, ends, options: { x: { label: x, ...axis }, y: { label: scale === 1 ? "loss" : "percent", grid: true, zero: scale === 1 }, marks } };
  },

  buckets(section, hidden, width) {
    const { header, keys: buckets } = data[section].tables[document.querySelector(`#${section} [data-chart=buckets] ~ .scroll`).dataset.table];
    const { systems } = data[section], names = header.slice(1);
    const shown = systems.map((_, index) => index).filter((index) => !hidden.has(index));
    const gap = Math.min(14 / (width / names.length), 0.75 / Math.max(shown.length, 1)), marks = [Plot.ruleY([0])]; // as a fraction of a bucket's width
    const points = buckets.flatMap((key, x) => {
      return spread(section, key).flatMap((point) => {
        const place = point && !hidden.has(point.system) ? shown.indexOf(point.system) - (shown.length - 1) / 2 : 0;
        return point ? [{ ...point, name: names[x], x: x + gap * place }] : [];
      });
    });
    const [chosen, others] = divided(points, hidden);
    marks.push(Plot.dot(others, { x: "x", y: "y", r: 2.5, ...GREY_DOT }));
    for (const point of chosen) {
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
    return { used: systems.map(() => true), options: { x, y, marks: [diagonal, ...joinedPoints(section, hidden, points, (point) => `${point.name}: probability ${point.x.toFixed(1)} %, share`)] } };
  },

  thresholds(section, hidden) {
    const { systems, keys } = data[section], metric = document.getElementById(`${section}-average`).value;
    const points = keys.flatMap(([key]) => {
      const found = /^analysis thresholds\/([\d.]+)\/(\w+)$/.exec(key);
      return found?.[2] === metric ? spread(section, key).flatMap((point) => (point ? [{ ...point, x: Number(found[1]) }] : [])) : [];
    });
    const x = { label: "decision threshold", domain: [0, 1], grid: true };
    return { used: systems.map(() => true), ends: lastOf(points, hidden), options: { x, y: { label: "percent", grid: true, zero: true }, marks: joinedPoints(section, hidden, points, (point) => `threshold ${point.x}:`) } };
  },

  fractions(section, hidden, width) {
    const { systems, fractions } = data[section], points = fractions[document.getElementById(`${section}-fraction`).value];
    const used = systems.map((_, index) => points.some((point) => point.system === index));
    const x = { label: "training documents", grid: true, zero: true, ...wholeTicks([0, ...points.map((point) => point.x)], width) };
    return { used, ends: lastOf(points, hidden), options: { x, y: { label: "percent", grid: true, zero: true }, marks: joinedPoints(section, hidden, points, (point) => `${point.x} documents:`) } };
  },

  cost(section, hidden) {
    const { systems, columns, keys, runs } = data[section], chosen = document.getElementById(`${section}-quality`).value;
    const position = keys.findIndex(([name]) => name === "timing train"), marks = [];
    const points = spread(section, chosen).filter(Boolean), [shown, others] = divided(points, hidden);
    for (const point of points) {
      point.seconds = mean(runs.filter((run) => run.system === point.system).map((run) => run.figures[position]));
      point.x = Math.log10(Math.max(point.seconds, 0.001));
      point.label = systems[point.system].label;
    }
    marks.push(Plot.dot(others, { x: "x", y: "y", r: 4, ...GREY_DOT }));
    for (const point of shown) {
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
  const table = { pairs, codes: codeTable, documents: documentTable }[figure.dataset.chart];
  if (table) return table(figure);
  const { chart, section } = figure.dataset, area = figure.querySelector(".plot-area"), width = Math.floor(area.clientWidth);
  if (!width) return;
  const { systems } = data[section], hidden = hiddenIn(section, chart), at = new Set(d3.range(systems.length).filter((index) => hidden.has(systems[index].label)));
  const { used, ends = [], options } = CHARTS[chart](section, at, width - 60), named = width >= 600 && ends.length <= BEST ? ends : [];
  const marginRight = named.length ? Math.min(220, 24 + 7 * d3.max(named, ({ system }) => systems[system].label.length)) : 12;
  const svg = Plot.plot({ className: "plot", width, height: Math.round(Math.min(400, Math.max(260, width * 0.55))), marginLeft: 44, marginRight, marginTop: 28, marginBottom: 40, ...options });
  nameEnds(svg, named, section, width - marginRight + 4);
  svg.querySelectorAll("g[aria-label]").forEach((group) => group.removeAttribute("aria-label")); // the chart as a whole has a label
  area.replaceChildren(svg);
  if (chart === "curves") listValues(figure, section, document.getElementById(`${section}-curve`).value);
  figure.querySelectorAll(".legend label").forEach((label, index) => label.classList.toggle("unused", !used[index]));
}

// The systems that a chart shows in grey: the reader's choice, else all but the best that it can show and the floors.
function hiddenIn(section, chart) {
  const { systems, runs } = data[section], known = (index) => chart !== "curves" || runs.some((run) => run.system === index && run.history.monitor);
  const others = systems.filter(({ floor }, index) => !floor && known(index)).slice(BEST);
  return kept.hidden[section] ?? new Set(others.map(({ label }) => label));
}

function hide(section, hidden) {
  kept.hidden[section] = hidden;
  document.querySelectorAll(`#${section} .chart`).forEach((figure) => {
    const left = hiddenIn(section, figure.dataset.chart);
    figure.querySelectorAll(".legend input").forEach((box, index) => (box.checked = !left.has(data[section].systems[index].label)));
    draw(figure);
  });
}

function legend(figure) {
  const { chart, section } = figure.dataset, { systems } = data[section], list = figure.querySelector(".legend");
  systems.forEach(({ label: name }, index) => {
    const box = make("input", { type: "checkbox", checked: !hiddenIn(section, chart).has(name), dataset: { system: index } }), swatch = d3.create("svg").attr("class", "swatch").attr("width", 28).attr("height", 14).attr("aria-hidden", true);
    const shape = { circle: d3.symbolCircle, square: d3.symbolSquare, triangle: d3.symbolTriangle, diamond: d3.symbolDiamond, star: d3.symbolStar, wye: d3.symbolWye, cross: d3.symbolCross }[symbol(index)];
    swatch.append("line").attr("x1", 0).attr("x2", 28).attr("y1", 7).attr("y2", 7).attr("stroke", colour(index)).attr("stroke-width", 2).attr("stroke-dasharray", dash(index));
    swatch.append("path").attr("d", d3.symbol(shape, 50)()).attr("transform", "translate(14,7)").attr("fill", colour(index));
    list.append(make("label", {}, box, swatch.node(), make("span", { textContent: name })));
    box.addEventListener("change", () => {
      const hidden = new Set(hiddenIn(section, chart));
      if (box.checked) hidden.delete(name);
      else hidden.add(name);
      hide(section, hidden);
    });
  });
  if (systems.length > BEST) list.before(legendTools(section, list));
}

function legendTools(section, list) {
  const button = (textContent, hidden) => {
    const made = make("button", { type: "button", className: "small", textContent });
    made.addEventListener("click", () => hide(section, hidden()));
    return made;
  };
  const find = make("input", { type: "search", size: 12 });
  find.addEventListener("input", () => {
    for (const label of list.querySelectorAll("label")) label.hidden = !label.textContent.toLowerCase().includes(find.value.trim().toLowerCase());
  });
  const names = () => data[section].systems.map(({ label }) => label);
  return make("p", { className: "tools" }, button("Best", () => undefined), button("All", () => new Set()), button("None", () => new Set(names())), make("label", {}, "Find a system ", find), "Grey: systems not selected.");
}
