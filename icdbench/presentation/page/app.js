"use strict";
// A keyboard shortcut to predict, copying codes, scrolling to the evidence on a narrow screen, and a message when the server
// does not answer; the forms work without.

const narrow = matchMedia("(max-width: 60rem)");

function showCopyButtons() {
  for (const button of document.querySelectorAll("[data-copy], .copies")) button.hidden = !navigator.clipboard;
}

document.addEventListener("keydown", event => {
  if (event.target.id !== "note" || event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  event.target.form.requestSubmit(document.getElementById("predict"));
});

document.addEventListener("click", async event => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  button.dataset.label ??= button.textContent; // a second click may come before the label is back
  await navigator.clipboard.writeText(button.dataset.copy);
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = button.dataset.label), 1500);
});

document.addEventListener("htmx:after:swap", event => {
  showCopyButtons();
  const pressed = event.detail.ctx?.request?.submitter;
  const shown = pressed?.value ? document.getElementById("evidence") : null;
  if (shown && narrow.matches) shown.scrollIntoView();
});

document.addEventListener("htmx:error", () => {
  document.getElementById("message").textContent = "The server does not answer; is 'icdbench serve' still running?";
});

showCopyButtons();
