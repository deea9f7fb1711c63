"use strict";
(() => {
  // --- sorting: numbers as numbers, empty cells last ---

  const compare = (a, b, sign) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const [x, y] = [Number(a), Number(b)];
    const both = !Number.isNaN(x) && !Number.isNaN(y);
    return sign * (both ? x - y : a.localeCompare(b));
  };

  const sort = (head) => {
    const row = head.parentElement;
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    for (const other of row.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const column = [...row.cells].indexOf(head);
    const body = head.closest("table").tBodies[0];
    const rows = [...body.rows];
    const text = (tr) => tr.cells[column].textContent;
    rows.sort((a, b) => compare(text(a), text(b), ascending ? 1 : -1));
    body.append(...rows);
  };

  for (const head of document.querySelectorAll("table.sortable thead th")) {
    head.querySelector("button").addEventListener("click", () => sort(head));
  }

  // --- searching: what has none of the words is hidden ---

  const form = document.getElementById("search");
  const wanted = document.getElementById("wanted");
  const count = document.getElementById("count");
  const entries = [...document.querySelectorAll("[data-find]")];
  const words = new Map(entries.map((e) => [e, e.textContent.toLowerCase()]));

  const search = () => {
    const asked = wanted.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const entry of entries) {
      entry.hidden = !asked.every((word) => words.get(entry).includes(word));
      left += !entry.hidden;
    }
    count.textContent = asked.length ? `${left} of ${entries.length}` : "";
  };

  form.hidden = false;
  form.addEventListener("input", search);
  form.addEventListener("submit", (event) => event.preventDefault());
})();
