"use strict";
// Unpacks and draws the page's data, and redraws what the reader chooses.

async function unpack(element) {
  const bytes = Uint8Array.from(atob(element.textContent), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

async function readData(content) {
  const printable = (_, value) => (typeof value === "string" ? value.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, " ") : value); // as in the template
  return JSON.parse(await unpack(content.getElementById("data")), printable);
}

function begin() {
  document.querySelectorAll("main [data-systems-of]").forEach(listSystems);
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
  document.querySelectorAll("main [data-table]:not(:has(.sortable))").forEach(drawTable);
  document.querySelectorAll("main details").forEach((details) => {
    const id = `${sectionId(details)} ${details.dataset.name}`;
    if (kept.open[id]) details.open = true;
    details.addEventListener("toggle", () => (kept.open[id] = details.open));
  });
  document.querySelectorAll("main [data-finds]").forEach(beginSearch);
  document.querySelectorAll("main .scroll[data-chart]").forEach(draw);
  const wider = new ResizeObserver((entries) => entries.forEach(({ target }) => draw(target)));
  document.querySelectorAll(".chart").forEach((figure) => {
    legend(figure);
    draw(figure);
    wider.observe(figure);
  });
  document.querySelectorAll("main .scroll").forEach(equip);
  const find = document.getElementById("find");
  if (find) {
    find.value = kept.find;
    find.addEventListener("input", () => filter(find.value));
    filter(kept.find);
  }
}

// Shows only the data sets whose name or facts contain the typed words.
function filter(typed) {
  kept.find = typed;
  const words = typed.toLowerCase().split(/\s+/), links = document.querySelectorAll(".overview li");
  links.forEach((link) => {
    link.hidden = !words.every((word) => link.textContent.toLowerCase().includes(word));
    document.getElementById(link.querySelector("a").hash.slice(1)).hidden = link.hidden;
  });
  document.getElementById("found").textContent = `${[...links].filter((link) => !link.hidden).length} of ${links.length}`;
}

document.addEventListener("keydown", moveFocus);
document.addEventListener("click", (event) => {
  const button = event.target.closest("button"), dialog = document.getElementById("origin");
  if (button?.dataset.code) showCode(button);
  else if (button?.matches(".figure")) showOrigin(button);
  else if (button?.matches(".copy")) copyCommand(button);
  else if (button?.dataset.csv) exportCsv(button);
  else if (event.target === dialog && !dialog.matches(":hover > *")) dialog.close(); // a click beside it
});
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => (details.open = true)));

async function start() {
  // The page's policy admits the libraries by their hashes, so no other script can run.
  for (const library of document.querySelectorAll(".library")) document.head.append(make("script", { textContent: await unpack(library) }));
  data = await readData(document);
  begin();
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView(); // the page has grown while it was drawn
  document.documentElement.dataset.drawn = "";
}
if ("DecompressionStream" in window) start();
else document.getElementById("status").textContent = "This browser is too old for the charts and tables: it needs DecompressionStream (2023).";

// A served page checks for new records every two seconds and updates itself in place.
async function refresh() {
  const main = document.getElementById("content"), status = document.getElementById("status");
  try {
    if (document.visibilityState === "visible" && !document.getElementById("origin").open) {
      const version = await (await fetch("version", { cache: "no-store" })).text();
      if (version !== main.dataset.version) {
        const fresh = new DOMParser().parseFromString(await (await fetch("./", { cache: "no-store" })).text(), "text/html");
        const latest = await readData(fresh), focused = document.activeElement?.id, top = scrollY;
        main.replaceWith(document.adoptNode(fresh.getElementById("content")));
        document.title = fresh.title;
        data = latest;
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
