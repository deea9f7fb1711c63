"use strict";
// Sorting and filtering. The tables are there without it.
(() => {
  const byId = (id) => document.getElementById(id);

  // --- sorting: first click as most people want it, then the other way, then as it was ---

  const original = new Map();
  document.querySelectorAll("tbody.rows").forEach((body) => original.set(body, [...body.rows]));

  const keyOf = (row, column, numeric) => {
    const cell = row.cells[column];
    if (!numeric) return cell.textContent;
    return "sort" in cell.dataset ? Number(cell.dataset.sort) : null;
  };

  const compare = (a, b, numeric, sign) => {
    // What has no number comes last, whichever the way.
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
  };

  const sort = (head) => {
    const numeric = head.dataset.kind === "number";
    const [first, second] = numeric ? ["descending", "ascending"] : ["ascending", "descending"];
    const next = { [first]: second, [second]: null }[head.getAttribute("aria-sort")];
    const order = next === undefined ? first : next;
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    if (order) head.setAttribute("aria-sort", order);
    const body = head.closest("table").querySelector("tbody.rows");
    let rows = original.get(body);
    if (order) {
      const sign = order === "ascending" ? 1 : -1;
      rows = rows
        .map((row) => [keyOf(row, head.cellIndex, numeric), row])
        .sort((a, b) => compare(a[0], b[0], numeric, sign))
        .map(([, row]) => row);
    }
    body.append(...rows);
  };

  document.querySelectorAll("thead th").forEach((head) => {
    head.querySelector("button").addEventListener("click", () => sort(head));
  });

  // --- filtering: base runs stay beside the rows that are compared with them ---

  const sections = [...document.querySelectorAll("section.prompt")];
  const filters = byId("filters");

  const filter = () => {
    const text = byId("filter-text").value.trim().toLowerCase();
    const family = byId("filter-family").value;
    const kl = Number(byId("filter-kl").value) || 0;
    const changed = byId("filter-changed").checked;
    let rows = 0;
    let prompts = 0;
    for (const section of sections) {
      let left = 0;
      const wanted = !family || section.dataset.family === family;
      for (const row of section.querySelectorAll("tbody.rows > tr")) {
        const words = (row.cells[0].textContent + "\n" + row.cells[2].textContent).toLowerCase();
        row.hidden =
          !wanted ||
          !words.includes(text) ||
          Number(row.dataset.kl) < kl ||
          (changed && !("changed" in row.dataset));
        left += !row.hidden;
      }
      section.hidden = left === 0;
      rows += left;
      prompts += left > 0;
    }
    byId("count").textContent = `${rows} ablations, ${prompts} of ${sections.length} prompts`;
  };

  const show = () => {
    document.body.dataset.show = byId("show").value;
  };

  if (sections.length) {
    filters.hidden = false;
    filters.addEventListener("input", filter);
    byId("show").addEventListener("input", show);
    filters.addEventListener("submit", (event) => event.preventDefault());
    filter();
    show();
  }
})();
