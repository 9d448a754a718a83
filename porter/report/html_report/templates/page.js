"use strict";
// Filtering, and opening what an address names. The page says the same without this.
(() => {
  const form = document.querySelector("form.filter");
  const show = (element, on) => { element.hidden = !on; };

  const filter = () => {
    const text = form.text.value.trim().toLowerCase();
    const device = form.device.value;
    const bad = form.bad.checked;
    let shown = 0;
    for (const group of document.querySelectorAll("[data-text]")) {
      const named = group.dataset.text.toLowerCase().includes(text);
      const rows = [...group.querySelectorAll("[data-device]")];
      for (const row of rows) {
        const fits = !device || row.dataset.device === device;
        const fails = !bad || !row.matches("tr") || row.querySelector(".cell.fail, .cell.error");
        show(row, fits && fails);
      }
      const left = rows.filter((row) => !row.hidden);
      show(group, named && (left.length > 0 || (!rows.length && !bad)));
      if (group.matches("tbody") && !group.hidden) shown += left.length;
    }
    for (const port of document.querySelectorAll(".port")) {
      show(port, [...port.querySelectorAll("tbody[data-text]")].some((group) => !group.hidden));
    }
    form.shown.value = text || device || bad ? `${shown} ${shown === 1 ? "row" : "rows"}` : "";
  };

  const open = () => {
    const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (named instanceof HTMLDetailsElement) named.open = true;
    if (named?.popover && named.showPopover) named.showPopover();
  };

  show(form, true);
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", open);
  filter();
  open();
})();
