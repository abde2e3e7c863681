// Filters and folds what is there already.
"use strict";
const controls = document.getElementById("controls");
const runs = [...document.querySelectorAll("details.run")];
function show() {
  const targets = new Set([...controls.querySelectorAll("[name=target]:checked")].map((box) => box.value));
  const violatedOnly = controls.elements.violated.checked;
  for (const element of document.querySelectorAll("main [data-target]")) {
    const isRun = element.classList.contains("run");
    const isLeftOut = isRun && violatedOnly && !element.classList.contains("violated");
    element.toggleAttribute("data-hidden", isLeftOut || !targets.has(element.dataset.target));
  }
}
function unfold() {
  const aim = location.hash && document.getElementById(location.hash.slice(1));
  const run = aim && aim.closest("details.run");
  if (run) {
    run.open = true;
    run.scrollIntoView();
  }
}
controls.hidden = false;
controls.addEventListener("change", show);
controls.elements.open.addEventListener("click", () => runs.forEach((run) => { run.open = true; }));
controls.elements.close.addEventListener("click", () => runs.forEach((run) => { run.open = false; }));
addEventListener("hashchange", unfold);
show();
unfold();
