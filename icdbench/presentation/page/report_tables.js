"use strict";
// Text from records is inserted only as textContent, never as markup.
// Tables, CSV, and the runs behind a figure.
const kept = { sorted: {}, chosen: {}, hidden: {}, open: {}, find: "", words: {} }; // the reader's choices, which outlast a refresh
let data = {};

function make(tag, properties = {}, ...children) {
  const { dataset, ...rest } = properties, element = Object.assign(document.createElement(tag), rest);
  Object.assign(element.dataset, dataset);
  element.append(...children);
  return element;
}

// A table with these headings, and its body.
function newTable(headings, properties = {}) {
  const table = make("table", properties), head = table.createTHead().insertRow();
  head.append(...headings.map((textContent) => make("th", { scope: "col", textContent })));
  return [table, table.createTBody()];
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const sectionId = (element) => element.closest("section.dataset").id;

function formatValue(value, kind) {
  if (value === null || value === undefined) return "";
  if (kind === "percent") return (100 * value).toFixed(2);
  if (kind === "number") return value.toLocaleString("en", { maximumSignificantDigits: 7 });
  const [size, unit] = value >= 3600 ? [3600, "h"] : value >= 60 ? [60, "min"] : [1, "s"];
  return `${(value / size).toFixed(value >= 60 ? 1 : 2)} ${unit}`;
}

// A name; on a narrow screen one that is too long breaks after these characters.
const named = (text) =>
  make("span", { className: "name" }, ...text.split(/(?<=[@/=,_])/).flatMap((part, index) => (index ? [make("wbr"), part] : [part])));

// The figures of a system's runs under a key.
function figures(section, key, system) {
  const { keys, runs } = data[section], position = keys.findIndex(([name]) => name === key);
  return runs.filter((run) => run.system === system).map((run) => run.figures[position]);
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

// Draws the table that an area names; a cell is its text, or the list that table_data() in report_data.py describes.
function drawTable(area) {
  const section = sectionId(area), { name, header, keys, rows } = data[section].tables[area.dataset.table];
  const table = make("table", { className: "sortable" }), head = table.createTHead().insertRow(), body = table.createTBody();
  const spread = keys.map((_, column) => rows.some(([, , cells]) => Array.isArray(cells[column]) && cells[column][1]));
  table.prepend(make("caption", { className: "unseen", textContent: name }));
  for (const text of header) head.append(make("th", { scope: "col" }, make("button", { type: "button", className: "sort", textContent: text })));
  for (const [label, system, cells] of rows) {
    const row = body.insertRow();
    row.append(make("th", { scope: "row", dataset: { order: label.toLowerCase() } }, named(label)));
    cells.forEach((cell, column) => {
      const [text, deviation, best, ownKey, ownOrder] = [cell].flat(), key = text && (ownKey ?? keys[column]);
      const order = ownOrder ?? (key ? mean(figures(section, key, system)) : null);
      const inside = [text, ...(spread[column] ? [" ", make("span", { className: "spread", textContent: deviation ? `± ${deviation}` : "" })] : [])];
      const shown = key ? [make("button", { type: "button", className: best ? "figure best" : "figure", dataset: { key, systems: system } }, ...inside)] : inside;
      row.append(make("td", { dataset: order === null ? {} : { order } }, ...shown));
    });
  }
  area.setAttribute("aria-label", name);
  area.replaceChildren(table);
  sortable(table, area.dataset.table);
  setTabStops(table);
}

function sortable(table, id) {
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

// Each table has one tab stop; arrow keys move between figures.
function setTabStops(table) {
  table.querySelectorAll("button.figure").forEach((button, index) => (button.tabIndex = index ? -1 : 0));
}

function moveFocus(event) {
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  const cell = event.target.closest("td, th");
  if (!steps || !cell || !event.target.matches("button.figure")) return;
  event.preventDefault();
  const rows = [...cell.closest("tbody").rows];
  let row = rows.indexOf(cell.parentElement), column = cell.cellIndex, next = null;
  while (!next) {
    row += steps[0];
    column += steps[1];
    if (!rows[row]?.cells[column]) return;
    next = rows[row].hidden ? null : rows[row].cells[column].querySelector("button.figure");
  }
  event.target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

// Draws the table that a menu chooses into the area after it.
function show(select) {
  const area = select.closest(".choice").nextElementSibling;
  area.dataset.table = select.value;
  drawTable(area);
}

// The bootstrap's result on row − column, in words, and whether the difference is significant.
function testResult(tests, row, column) {
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
    line.append(make("th", { scope: "row" }, named(systems[row].label)));
    texts.forEach((text, column) => {
      const [result, significant] = testResult(tests, row, column);
      const figure = text && make("button", { type: "button", className: significant ? "figure sure" : "figure", textContent: text, title: result, dataset: { key, systems: `${row} ${column}`, test: result } });
      line.append(make("td", { className: `tint${Math.round((3 * points[row][column]) / most)}` }, figure));
    });
  });
  area.replaceChildren(table);
  setTabStops(table);
}

// --- tables as CSV, and their edges --------------------------------------------------------------------------------------

// Standard deviations get columns of their own. An apostrophe keeps spreadsheets from evaluating text.
function csv(table) {
  const rows = [...table.rows].map((row) => [...row.cells]), deviation = (cell) => cell?.querySelector(".spread")?.textContent.replace("± ", "") ?? "";
  const spread = rows[0].map((_, column) => rows.some((row) => deviation(row[column])));
  const plain = (cell) => (cell.querySelector(".figure")?.firstChild ?? (cell.querySelector(".spread") ? cell.firstChild : cell)).textContent.trim().replace(/^−/, "-").replace(/ ≈$/, "");
  const safe = (text) => (/^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text);
  const field = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = rows.map((row, index) => row.flatMap((cell, column) => [plain(cell), ...(spread[column] ? [index ? deviation(cell) : `${plain(cell)} (sd)`] : [])]));
  return lines.map((line) => line.map((text) => field(safe(text))).join(",") + "\r\n").join("");
}

function save(text, name) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  make("a", { href: address, download: `${name.replace(/[^\p{L}\p{N}@.-]+/gu, "-").slice(0, 100)}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// Adds CSV buttons below a table, and lets it fade at an edge that hides columns.
function equip(area) {
  const tools = [["Copy as CSV", "copy"], ["Save as CSV", "save"]].map(([textContent, csv]) => make("button", { type: "button", className: "small", textContent, dataset: { csv } }));
  area.after(make("p", { className: "tools csv" }, ...tools));
  const look = () => {
    area.classList.toggle("more", area.scrollLeft + area.clientWidth < area.scrollWidth - 1);
    area.classList.toggle("moved", area.scrollLeft > 0);
  };
  area.addEventListener("scroll", look, { passive: true });
  const seen = new ResizeObserver(look), observe = () => [area, ...area.children].forEach((each) => seen.observe(each));
  new MutationObserver(observe).observe(area, { childList: true });
  observe();
}

async function exportCsv(button) {
  const area = button.parentElement.previousElementSibling, text = csv(area.querySelector("table"));
  if (button.dataset.csv === "save") save(text, `${document.querySelector(`#${sectionId(area)} h2`).textContent} ${area.getAttribute("aria-label")}`);
  else await copyText(button, text);
}

async function copyText(button, text, refused = () => (button.textContent = "The browser does not allow it")) {
  button.dataset.label ??= button.textContent; // a second click may come before the label is back
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    refused();
  }
  setTimeout(() => (button.textContent = button.dataset.label), 1500);
}

// Copies the command beside a button; without access to the clipboard, selects it instead.
function copyCommand(button) {
  const code = button.parentElement.querySelector("code");
  return copyText(button, code.textContent, () => getSelection().selectAllChildren(code));
}

// --- the runs of each system --

const RUN_COLUMNS = ["run", "seed", "date", "commit", "device", "threshold tuned"];

function listSystems(area) {
  const { systems, runs } = data[sectionId(area)];
  area.replaceChildren(...systems.map(({ label, commands, settings }, index) => {
    const own = runs.filter((run) => run.system === index), [table, body] = newTable(RUN_COLUMNS);
    for (const { id, seed, date, commit, device, threshold } of own) {
      const row = body.insertRow();
      row.append(make("th", { scope: "row" }, make("code", { textContent: id })));
      for (const text of [seed, date, commit || "not known", device, threshold?.toFixed(4) ?? ""]) row.append(make("td", { textContent: text }));
    }
    const described = [...settings, ...[...new Set(own.map((run) => run.versions))].map((versions) => ["versions", [versions]])];
    const list = make("dl", { className: "settings" }, ...described.map(([name, values]) =>
      make("div", {}, make("dt", { textContent: name }), make("dd", {}, ...values.flatMap((textContent) => [make("span", { textContent }), " "])))));
    const summary = make("summary", { textContent: `${label} ` }, make("span", { textContent: `${own.length} run${own.length > 1 ? "s" : ""}` }));
    const scroll = make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: `Runs of ${label}` }, table);
    return make("details", { className: "system", dataset: { name: `system ${label}` } }, summary, ...commands.map(commandLine), scroll, list);
  }));
}

// --- the runs behind a figure --------------------------------------------------------------------------------------------

function commandLine(line) {
  return make("div", { className: "command" }, make("pre", {}, make("code", { textContent: line })), make("button", { type: "button", className: "copy", textContent: "Copy" }));
}

function showOrigin(button) {
  const { systems, runs, keys } = data[sectionId(button)], { key } = button.dataset;
  const position = keys.findIndex(([name]) => name === key), [, kind, about] = keys[position];
  const chosen = button.dataset.systems.split(" ").map(Number), every = chosen.length === systems.length && chosen.length > 2;
  const floor = key.startsWith("popularity "), labels = floor ? "popularity" : every ? "all systems" : chosen.map((index) => systems[index].label).join(" − ");
  const parts = [make("h2", { id: "origin-title", textContent: labels }), make("p", { className: "value", textContent: button.textContent }), make("p", { className: "note", textContent: about })];
  if (button.dataset.test) parts.push(make("p", { className: "note", textContent: `${button.dataset.test}; paired bootstrap of test documents and seeds` }));
  for (const index of chosen) {
    const own = runs.filter((run) => run.system === index), [table, body] = newTable(["seed", kind === "percent" ? "percent" : "value", "run", "date", "commit", "device"]);
    if (chosen.length > 1) parts.push(make("h3", { textContent: systems[index].label }));
    for (const run of own) {
      const row = body.insertRow(), texts = [run.seed, formatValue(run.figures[position], kind), run.id, run.date.slice(0, 16).replace("T", " "), run.commit || "unknown", run.device];
      texts.forEach((text, column) => row.append(make("td", { textContent: text, className: column === 1 ? "number" : "" })));
    }
    parts.push(make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: `Runs of ${systems[index].label}` }, table), ...systems[index].commands.map(commandLine));
    for (const versions of new Set(own.map((run) => run.versions))) parts.push(make("p", { className: "note", textContent: versions }));
  }
  openDialog(parts);
}

function openDialog(parts) {
  const dialog = document.getElementById("origin");
  dialog.lastElementChild.replaceChildren(...parts);
  dialog.showModal();
  dialog.scrollTop = 0;
}
