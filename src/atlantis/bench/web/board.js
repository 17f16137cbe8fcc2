// The leaderboard as one table: choose a scenario, keep methods by what they may use, sort by any column.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const [choice, uses, table] = ["board", "uses", "table"].map((id) => document.getElementById(id));
const order = { column: -1, down: true };

function make(parent, tag, text = "", attributes = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return parent.appendChild(element);
}

const needs = [...new Set(data.boards.flatMap((board) => board.rows.flatMap((row) => row.needs)))];
document.getElementById("about").textContent = data.about;
data.boards.forEach((board, i) => {
  make(choice, "option", board.title, { value: String(i) });
});
for (const need of needs) {
  const label = make(uses, "label");
  const box = make(label, "input", "", { type: "checkbox", value: need });
  box.checked = true;
  label.append(` ${need}`);
  box.addEventListener("change", show);
}
if (!needs.length) uses.hidden = true;
choice.addEventListener("change", () => {
  order.column = -1;
  show();
});

function allowed(row) {
  const granted = [...uses.querySelectorAll("input:checked")].map((box) => box.value);
  return row.needs.every((need) => granted.includes(need));
}

function sorted(rows) {
  if (order.column < 0) return rows;
  const key = (row) => (order.column === 0 ? row.method : row.cells[order.column - 1]?.[0]);
  const [absent, present] = [rows.filter((row) => key(row) == null), rows.filter((row) => key(row) != null)];
  const sign = order.down ? -1 : 1;
  present.sort((a, b) => sign * (order.column === 0 ? key(a).localeCompare(key(b)) : key(a) - key(b)));
  return [...present, ...absent];
}

function number(value, digits) {
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function show() {
  const board = data.boards[Number(choice.value) || 0];
  const rows = board.rows.filter(allowed);
  const focused = [...table.querySelectorAll("thead button")].indexOf(document.activeElement);
  table.replaceChildren();
  const head = make(make(table, "thead"), "tr");
  ["method", ...board.columns.map((column) => column.title)].forEach((title, c) => {
    const cell = make(head, "th", "", { scope: "col", ...(c ? {} : { class: "text" }) });
    const arrow = c === order.column ? (order.down ? " \u2193" : " \u2191") : "";
    if (arrow) cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    const button = make(cell, "button", title + arrow, { type: "button" });
    button.addEventListener("click", () => {
      Object.assign(order, { column: c, down: c === order.column ? !order.down : c > 0 });
      button.focus();
      show();
    });
    if (c === focused) button.focus();
  });
  const body = make(table, "tbody");
  for (const row of sorted(rows)) {
    const line = make(body, "tr");
    const name = make(line, "td", row.method + (row.front ? " *" : ""), { class: "text" });
    make(name, "small", row.note);
    for (const failure of row.failures) make(name, "small", failure, { class: "failure" });
    row.cells.forEach((cell, c) => {
      const digits = board.columns[c].digits;
      const place = make(line, "td", cell ? number(cell[0], digits) : "\u2013");
      if (cell && cell.length === 3) make(place, "small", `${number(cell[1], digits)} to ${number(cell[2], digits)}`);
    });
  }
  document.getElementById("shown").textContent = `${rows.length} of ${board.rows.length} methods shown.`;
}
show();
