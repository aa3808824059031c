"use strict";
// The errors of a system by code and, if the page has ids, by document.

// The mean over runs of a count over all of them.
const perRun = (sum, number) => (sum / number).toLocaleString("en", { maximumFractionDigits: 1 });
const percentages = (values) => (values.includes(null) ? null : { mean: 100 * mean(values), values });

// Precision, recall and F1 of a code over a system's seeds; null where undefined.
function qualities(section, system, code) {
  const { gold, systems } = data[section].codes, { tp, predicted } = systems[system];
  const of = (share) => percentages(tp.map((hits, run) => share(hits[code], predicted[run][code])));
  return {
    predicted: mean(predicted.map((run) => run[code])),
    precision: of((hits, guesses) => (guesses ? hits / guesses : null)),
    recall: of((hits) => (gold[code] ? hits / gold[code] : null)),
    f1: of((hits, guesses) => (guesses + gold[code] ? (2 * hits) / (guesses + gold[code]) : null)),
  };
}

function percentCell(found, withSpread) {
  if (!found) return make("td");
  const spread = withSpread && found.values.length > 1 ? [" ", make("span", { className: "spread", textContent: `± ${(100 * d3.deviation(found.values)).toFixed(1)}` })] : [];
  return make("td", { dataset: { order: found.mean } }, found.mean.toFixed(1), ...spread);
}

// A table whose headings sort it; columns in `texts` hold text.
function sortableTable(name, header, texts) {
  const table = make("table", { className: "sortable errors" }), head = table.createTHead().insertRow();
  table.prepend(make("caption", { className: "unseen", textContent: name }));
  for (const text of header) head.append(make("th", { scope: "col", className: texts.includes(text) ? "text" : "" }, make("button", { type: "button", className: "sort", textContent: text })));
  return [table, table.createTBody()];
}

const countCell = (value) => make("td", { textContent: perRun(value, 1), dataset: { order: value } });

// Codes of a flat list of positions and counts over all runs; a count is shown unless it is that of every run.
const pairsOf = (flat) => d3.range(0, flat.length, 2).map((at) => [flat[at], flat[at + 1]]);
const listed = (flat, names, runs) => pairsOf(flat).map(([code, count]) => (count === runs ? names[code] : `${names[code]} (${count} of ${runs})`)).join(", ");

function codeTable(area) {
  const section = sectionId(area), { names, titles, train, gold, systems } = data[section].codes, system = Number(document.getElementById(`${section}-code-system`).value);
  const { tp, instead, mistaken } = systems[system], titled = titles.some(Boolean), name = `Codes, ${data[section].systems[system].label}`;
  const texts = ["predicted where it is missed", "missed where it is wrongly predicted"], title = titled ? ["title"] : [];
  const [table, body] = sortableTable(name, ["code", ...title, "training documents", "test documents", "predicted", "precision", "recall", "F1", ...texts], ["title", ...texts]);
  const confused = (flat) => pairsOf(flat).map(([code, count]) => `${names[code]} (${perRun(count, tp.length)})`).join(", ");
  names.forEach((name, code) => {
    const { predicted, precision, recall, f1 } = qualities(section, system, code), row = body.insertRow();
    row.append(make("th", { scope: "row", dataset: { order: name } }, make("button", { type: "button", className: "figure", dataset: { code }, textContent: name })));
    if (titled) row.append(make("td", { className: "text", textContent: titles[code] }));
    row.append(countCell(train[code]), countCell(gold[code]), countCell(predicted), percentCell(precision), percentCell(recall), percentCell(f1, true));
    for (const flat of [instead[code], mistaken[code]]) row.append(make("td", { className: "text", textContent: confused(flat), dataset: { order: flat[1] ? flat[1] : "" } }));
  });
  placeTable(area, table, name, "test documents", -1);
}

function documentTable(area) {
  const section = sectionId(area), { ids, gold, names, systems } = data[section].documents, system = Number(document.getElementById(`${section}-document-system`).value);
  const { predicted, missed, wrong, jaccard } = systems[system], runs = data[section].runs.filter((run) => run.system === system).length;
  const name = `Documents, ${data[section].systems[system].label}`, texts = ["missed codes", "wrongly predicted codes"];
  const [table, body] = sortableTable(name, ["document", "Jaccard", "gold", "predicted", "missed", "wrong", ...texts], texts);
  const sum = (flat) => pairsOf(flat).reduce((total, [, count]) => total + count, 0) / runs;
  ids.forEach((id, at) => {
    const row = body.insertRow(), right = predicted[at] / runs - sum(wrong[at]);
    row.append(make("th", { scope: "row", textContent: id, dataset: { order: id } }), make("td", { textContent: (100 * jaccard[at]).toFixed(1), dataset: { order: jaccard[at] } }));
    row.append(...[gold[at], predicted[at] / runs, gold[at] - right, sum(wrong[at])].map(countCell));
    for (const flat of [missed[at], wrong[at]]) row.append(make("td", { className: "text", textContent: listed(flat, names, runs) }));
  });
  placeTable(area, table, name, "Jaccard", 1);
}

// Puts a table into its area, sorted by a column until the reader chooses another, and filters it.
function placeTable(area, table, name, column, direction) {
  const id = `${sectionId(area)} ${area.dataset.chart}`;
  area.setAttribute("aria-label", name);
  area.replaceChildren(table);
  kept.sorted[id] ??= [column, direction];
  sortable(table, id);
  setTabStops(table);
  searchIn(area);
}

function searchIn(area) {
  const find = document.querySelector(`#${sectionId(area)} [data-finds="${area.dataset.chart}"]`), rows = [...area.querySelectorAll("tbody tr")];
  const words = (kept.words[find.id] ?? "").toLowerCase().split(/\s+/);
  for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
  find.closest(".choice").querySelector("[role=status]").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
}

function beginSearch(find) {
  find.value = kept.words[find.id] ?? "";
  find.addEventListener("input", () => {
    kept.words[find.id] = find.value;
    searchIn(document.querySelector(`#${sectionId(find)} [data-chart="${find.dataset.finds}"]`));
  });
}

// --- one code --

function simpleTable(header, rows, label) {
  const [table, body] = newTable(header, { className: "simple" });
  const kind = (text) => ({ className: ["code", "system", "title"].includes(text) ? "text" : "number" });
  for (const cell of table.tHead.rows[0].cells) Object.assign(cell, kind(cell.textContent));
  for (const texts of rows) body.insertRow().append(...header.map((heading, column) => make("td", { textContent: texts[column], ...kind(heading) })));
  return make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: label }, table);
}

function showCode(button) {
  const section = sectionId(button), { names, titles, train, gold, systems } = data[section].codes, code = Number(button.dataset.code);
  const chosen = Number(document.getElementById(`${section}-code-system`).value), { label } = data[section].systems[chosen], runs = systems[chosen].tp.length;
  const shown = (found) => (found ? found.mean.toFixed(1) : ""), count = (number, what) => `${number.toLocaleString("en")} ${what} document${number === 1 ? "" : "s"}`;
  const parts = [make("h2", { id: "origin-title", textContent: names[code] }), make("p", { textContent: titles[code] }), make("p", { className: "note", textContent: `${count(train[code], "training")}, ${count(gold[code], "test")}` })];
  const confused = (heading, flat) => {
    parts.push(make("h3", { textContent: heading }));
    if (flat.length) parts.push(simpleTable(["code", "documents", ...(titles.some(Boolean) ? ["title"] : [])], pairsOf(flat).map(([other, sum]) => [names[other], perRun(sum, runs), titles[other]]), heading));
    else parts.push(make("p", { className: "note", textContent: "No listed code in two documents of a run." }));
  };
  confused(`Predicted by ${label} where it misses ${names[code]}`, systems[chosen].instead[code]);
  confused(`Missed by ${label} where it wrongly predicts ${names[code]}`, systems[chosen].mistaken[code]);
  for (const [heading, found] of Object.entries(examples(section, chosen, names[code]))) if (found.length) parts.push(make("h3", { textContent: heading }), make("p", { className: "ids" }, ...found.flatMap((id) => [make("span", { textContent: id }), " "])));
  const others = systems.flatMap((known, system) => (known ? [[data[section].systems[system].label, qualities(section, system, code)]] : []));
  others.sort(([, one], [, other]) => (other.f1?.mean ?? -1) - (one.f1?.mean ?? -1));
  parts.push(make("h3", { textContent: "Every system" }), simpleTable(["system", "predicted", "precision", "recall", "F1"], others.map(([name, found]) => [name, perRun(found.predicted, 1), shown(found.precision), shown(found.recall), shown(found.f1)]), "Every system"));
  openDialog(parts);
}

// Some documents in which a system errs on a code, those with most errors first; none if the page has no ids.
function examples(section, system, name) {
  const documents = data[section].documents, found = documents.systems?.[system], code = documents.names?.indexOf(name);
  const having = (lists) => documents.ids.filter((_, at) => pairsOf(lists[at]).some(([each]) => each === code)).slice(0, 10);
  return found ? { "Documents where it is missed": having(found.missed), "Documents where it is wrongly predicted": having(found.wrong) } : {};
}
