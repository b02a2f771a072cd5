/* Tables of cells: a click on a heading sorts by it, and on a narrow page a table that does
 * not fit becomes a list, in which each value stands behind the name of its column. */
"use strict";

const bookTables = {
  /** What a cell sorts by: its number, if it begins with one, or its text. */
  key(text) {
    const plain = text.replaceAll(",", "").replace("\u2212", "-").trim();
    const units = { k: 1e3, M: 1e6, G: 1e9 };
    const found = plain.match(/^([+-]?\d*\.?\d+)%?\s*([kMG]?)/);
    return found ? Number(found[1]) * (units[found[2]] ?? 1) : plain;
  },

  /** Sort the rows by a column; the first and the last stay if they are no rows of their own. */
  sort(table, column, descending) {
    const body = table.tBodies[0];
    const name = (row) => row.cells[0].textContent.trim();
    const rows = [...body.rows];
    const first = rows.filter((row) => name(row) === "input");
    const last = rows.filter((row) => name(row) === "total");
    const free = rows.filter((row) => !first.includes(row) && !last.includes(row));
    const key = (row) => bookTables.key(row.cells[column].textContent);
    const compare = (a, b) => {
      const [left, right] = [key(a), key(b)];
      if (typeof left !== typeof right) return typeof left === "number" ? -1 : 1;
      const order = typeof left === "number" ? left - right : left.localeCompare(right);
      return descending ? -order : order;
    };
    body.append(...first, ...free.sort(compare), ...last);
    [...table.tHead.rows[0].cells].forEach((heading, index) => {
      if (index !== column) heading.removeAttribute("aria-sort");
      else heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    });
  },

  /** Buttons for the headings, and the name of its column for each cell. */
  prepare(table) {
    const headings = [...table.tHead.rows[0].cells];
    for (const row of table.tBodies[0].rows) {
      [...row.cells].forEach((cell, index) => {
        cell.dataset.column = headings[index].textContent.trim();
      });
    }
    headings.forEach((heading, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      button.addEventListener("click", () => {
        bookTables.sort(table, index, heading.getAttribute("aria-sort") === "ascending");
      });
      heading.append(button);
    });
    table.classList.add("sortable");
  },

  /** Make lists of the tables that are wider than the page. */
  fit() {
    for (const table of document.querySelectorAll("table.sortable")) {
      table.classList.remove("stacked");
      const room = table.parentElement.clientWidth;
      table.classList.toggle("stacked", table.scrollWidth > room + 1);
    }
  },
};

if (typeof document !== "undefined") {
  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll(".cell_output .text_html > table").forEach(bookTables.prepare);
    bookTables.fit();
    let width = window.innerWidth;
    window.addEventListener("resize", () => {
      if (window.innerWidth !== width) bookTables.fit();
      width = window.innerWidth;
    });
  });
}
