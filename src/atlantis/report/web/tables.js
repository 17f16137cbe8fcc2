// --- tables: every one sorts by a press on a heading

// columns: { title, digits?, text?, signed?, press? }. order: { column, down }, kept between redraws; -1 is as given.
/** @param {HTMLTableElement} table @param {Column[]} columns @param {Cell[][]} rows @param {Order} order
 * @param {RowLook} [look] */
function fill(table, columns, rows, order, look) {
  /** @returns {any} */
  const value = (row) => row[order.column];
  const compare = (a, b) => {
    const [noA, noB] = [a, b].map((row) => Number(absent(value(row))));
    if (noA || noB) return noA - noB; // what is absent comes last
    const sign = order.down ? -1 : 1;
    return sign * (columns[order.column].text ? value(a).localeCompare(value(b)) : value(a) - value(b));
  };
  const sorted = order.column < 0 ? rows : [...rows].sort(compare);
  const focused = [...table.querySelectorAll("thead button")].indexOf(document.activeElement);
  table.replaceChildren();
  const head = make(make(table, "thead"), "tr");
  columns.forEach((column, c) => {
    const cell = make(head, "th", null, { scope: "col", ...(column.text ? { class: "text" } : {}) });
    if (c === order.column) cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    const button = make(
      cell,
      "button",
      c === order.column ? `${column.title} ${order.down ? "↓" : "↑"}` : column.title,
      { type: "button" },
    );
    if (column.tip) explain(button, column.tip);
    button.addEventListener("click", () => {
      Object.assign(order, { column: c, down: c === order.column ? !order.down : !column.text });
      button.focus({ preventScroll: true });
      fill(table, columns, rows, order, look);
    });
    if (c === focused) button.focus({ preventScroll: true });
  });
  const body = make(table, "tbody");
  for (const row of sorted.slice(0, order.most ?? sorted.length)) {
    const line = make(body, "tr", null, look ? look(row) : {});
    columns.forEach((column, c) => fillCell(line, column, row[c]));
  }
}

/** @param {HTMLElement} button @param {string} text */
function explain(button, text) {
  // in the tip, beside the pointer or below what has the focus; to a screen reader as a description
  button.setAttribute("aria-description", text);
  button.addEventListener("pointermove", (event) => tip(event.clientX, event.clientY, [text]));
  button.addEventListener("focus", () => {
    const box = button.getBoundingClientRect();
    if (button.matches(":focus-visible")) tip(box.left, box.bottom, [text]);
  });
  for (const type of ["pointerleave", "blur"]) button.addEventListener(type, () => tip(0, 0, null));
}

/** @param {HTMLElement} line @param {Column} column @param {any} value */
function fillCell(line, column, value) {
  // column.press: what a press on it does, if anything
  const text = column.text ? (value ?? "–") : column.signed ? signed(value) : shown(value, column.digits);
  const cell = make(line, "td", null, column.text ? { class: "text" } : {});
  const press = column.press?.(value);
  if (!press) cell.textContent = text;
  else make(cell, "button", text, { type: "button", class: "plain" }).addEventListener("click", press);
}

const orders = {
  table: { column: -1 },
  regions: { column: 4, down: true },
  variants: { column: -1 },
  when: { column: -1 },
  answers: { column: -1 },
  compare: { column: -1 },
  "city-table": { column: 4, down: true, most: ROWS },
};
const filled = {}; // by the table's id, what it shows now: { columns, rows, python }

/** @param {TableName} name @param {Column[]} columns @param {Cell[][]} rows @param {string[]} python
 * @param {RowLook} [look] */
function put(name, columns, rows, python, look) {
  filled[name] = { columns, rows, python };
  fill($(name), columns, rows, orders[name], look);
}

/** @param {string} name */
const runTable = (name) => [
  "from atlantis.report.export import run_tables",
  "from atlantis.report.run_data import load",
  `run_tables(load(${quoted(run().path)}))[${quoted(name)}].rows`,
];

function runTables() {
  // what no step changes
  const { table, when, answers } = run();
  const steps = table.columns.map((column, c) => (c ? column : { ...column, press: (step) => () => goToStep(step) }));
  put("table", steps, table.rows, runTable("checkpoints"), (row) => ({
    "data-step": row[0],
    class: row[0] === timeline[state.target] ? "now" : "",
  }));
  $("when-section").hidden = !when;
  if (when) put("when", when.columns, when.rows, runTable("when"));
  $("answers-section").hidden = !answers;
  if (answers) $("answers-step").textContent = whole(answers.step);
  if (answers) put("answers", answers.columns, answers.rows, runTable("answers"));
  $("compare-section").hidden = !several;
  if (!several) return;
  const paths = DATA.runs.map((r) => `load(${quoted(r.path)})`).join(", ");
  const lines = [
    "from atlantis.report.export import comparison_sheet",
    "from atlantis.report.run_data import load",
    `comparison_sheet([${paths}]).rows`,
  ];
  put("compare", DATA.comparison.columns, DATA.comparison.rows, lines);
}

/** @param {number} first @param {number} now */
function beforeAndNow(first, now) {
  // the last three columns of a table that follows the step
  const at = (step) => `km at step ${whole(step)}`;
  return [{ title: `km at first, step ${whole(first)}` }, { title: at(now) }, { title: "change, km", signed: true }];
}

/** @param {(number | null)[]} values @param {number} k */
function change(values, k) {
  return [values[0], values[k], absent(values[0]) || absent(values[k]) ? null : values[k] - values[0]];
}

const tableProbe = () => (state.layout === "probes" ? "frozen" : state.protocol);

/** @param {number} step */
function stepTables(step) {
  const name = tableProbe();
  const probe = run().probes[name],
    title = (words) => ({ title: words, text: true });
  const imports = (what) => [`from atlantis.report.export import ${what}`, "from atlantis.report.run_data import load"];
  $("regions-section").hidden = !probe;
  if (probe) {
    const k = Math.max(0, latest(probe.steps, step));
    const alone = (group) => run().regions.some((region) => region.name === group) && (() => toggleRegion(group));
    const columns = [{ ...title("group"), press: alone }, { title: "cities" }];
    columns.push(...beforeAndNow(probe.steps[0], probe.steps[k]));
    const rows = probe.by_region.map(({ name: group, n, mean_km: km }) => [group, n, ...change(km, k)]);
    const python = [
      ...imports("region_rows"),
      `region_rows(load(${quoted(run().path)}).probes[${quoted(name)}], ${probe.steps[k]})`,
    ];
    put("regions", columns, rows, python, (row) => (row[0] === probe.by_region[0].name ? { class: "all" } : {}));
    $("regions-probe").textContent = probe.title;
  }
  cityTable(step);
  const { variants } = run();
  $("variants-section").hidden = !variants;
  if (variants) {
    const k = Math.max(0, latest(variants.steps, step));
    const columns = [
      title("probe"),
      title("scored on"),
      { title: "cities" },
      ...beforeAndNow(variants.steps[0], variants.steps[k]),
    ];
    const rows = variants.rows.map(({ variant, group, n, mean_km: km }) => [variant, group, n, ...change(km, k)]);
    put("variants", columns, rows, [
      ...imports("variant_rows"),
      `variant_rows(load(${quoted(run().path)}), ${variants.steps[k]})`,
    ]);
  }
}
