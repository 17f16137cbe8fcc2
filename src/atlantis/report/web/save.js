// --- what a reader takes along: maps as PNG or SVG, charts as SVG, data as CSV, lines of Python that give the same

const POSTER = { width: 1200, margin: 24, gap: 20, head: 34, caption: 40, row: 18 };
const WORDS = /[^\p{L}\p{N}._-]+/gu;

/** @param {string} name @param {string} type @param {string | Blob} data */
function download(name, type, data) {
  const address = URL.createObjectURL(data instanceof Blob ? data : new Blob([data], { type }));
  make(null, "a", null, { href: address, download: name.replace(WORDS, "_") }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** @param {string} text */
const quoted = (text) => JSON.stringify(text); // as Python has it too

/** @param {Cell} value */
function csvField(value) {
  // a text that a spreadsheet would run as a formula gets an apostrophe before it
  if (absent(value)) return "";
  if (typeof value === "number") return String(value);
  const line = value.replace(/[\t\r\n\0]/g, " "),
    safe = /^\s*[=+\-@]/.test(line) ? `'${line}` : line;
  return /[",]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** @param {string[]} titles @param {Cell[][]} rows */
const csv = (titles, rows) => [titles, ...rows].map((row) => row.map(csvField).join(",") + "\n").join("");

/** @param {Element} parent @param {string} name @param {[string, () => void][]} parts
 * @param {() => string[]} python */
function saver(parent, name, parts, python) {
  // a small menu; parts: [text, act]; python: gives the lines
  const menu = make(parent, "details", null, { class: "save" });
  make(menu, "summary", "Save", { "aria-label": `Save ${name}` });
  const box = make(menu, "div", null, { class: "controls" });
  for (const [text, act] of parts) make(box, "button", text, { type: "button" }).addEventListener("click", act);
  const code = make(menu, "textarea", null, {
    readonly: "",
    rows: 3,
    "aria-label": "The same in Python",
    spellcheck: "false",
  });
  make(box, "button", "copy Python", { type: "button" }).addEventListener("click", () =>
    copyText(python().join("\n"), code),
  );
  menu.addEventListener("toggle", () => (code.value = python().join("\n")));
}

// --- a chart

/** @param {Element} parent @param {Panel} panel @param {SVGSVGElement} svg */
function saveChart(parent, panel, svg) {
  const data = () => {
    const rows = DATA.runs.flatMap((r) => r.panels.filter((p) => p.id === panel.id).flatMap((p) => curveRows(r, p)));
    return csv(["run", "step", "curve", "value", "low", "high"], rows);
  };
  const python = () => {
    const paths = DATA.runs
      .filter((r) => r.panels.some((p) => p.id === panel.id))
      .map((r) => quoted(r.path))
      .join(", ");
    return ["from atlantis.report.panels import panel_rows", `panel_rows([${paths}], ${quoted(panel.id)})`];
  };
  const name = `${DATA.title} ${panel.id}`;
  saver(
    parent,
    panel.title,
    [
      ["SVG", () => download(`${name}.svg`, "image/svg+xml", chartText(svg, panel))],
      ["CSV", () => download(`${name}.csv`, "text/csv", data())],
    ],
    python,
  );
}

/** @param {Run} r @param {Panel} panel */
function curveRows(r, panel) {
  return panel.series.flatMap((s) =>
    s.steps.map((step, i) => [r.name, step, s.label, s.values[i], s.low?.[i], s.high?.[i]]),
  );
}

/** @param {SVGSVGElement} svg @param {Panel} panel */
function chartText(svg, panel) {
  // with its title and legend; colours and fonts as they are on the page
  const keys = [...svg.parentNode.querySelectorAll(".keys button[aria-pressed=true]")],
    copy = /** @type {SVGSVGElement} */ (svg.cloneNode(true));
  const height = H + 30 + 18 * keys.length,
    look = (node, name) => getComputedStyle(node)[name];
  const whole = make(null, "svg:svg", null, {
    xmlns: SVG,
    width: W,
    height,
    viewBox: `0 0 ${W} ${height}`,
    "font-family": "system-ui, sans-serif",
  });
  make(whole, "svg:rect", null, { width: W, height, fill: css("--paper") });
  make(whole, "svg:text", panel.title, { x: 8, y: 20, "font-size": 14, "font-weight": "bold", fill: css("--ink") });
  for (const node of copy.querySelectorAll(".now, .cross")) node.remove();
  for (const [name, value] of Object.entries({ y: 26, x: 0, width: W, height: H }))
    copy.setAttribute(name, String(value));
  for (const name of ["role", "tabindex", "aria-label"]) copy.removeAttribute(name);
  whole.append(copy);
  keys.forEach((button, k) => {
    const icon = /** @type {SVGSVGElement} */ (button.querySelector("svg").cloneNode(true)),
      y = H + 28 + 18 * k;
    for (const [name, value] of Object.entries({ x: 8, y, width: 34, height: 14 }))
      icon.setAttribute(name, String(value));
    whole.append(icon);
    make(whole, "svg:text", button.textContent, { x: 50, y: y + 11, "font-size": 12, fill: css("--ink") });
  });
  for (const text of copy.querySelectorAll("text")) {
    text.setAttribute("font-size", "11");
    text.setAttribute("fill", css("--muted"));
  }
  for (const rule of copy.querySelectorAll(".rule")) rule.setAttribute("stroke", css("--line") || look(svg, "color"));
  return new XMLSerializer().serializeToString(whole).replaceAll("var(--muted)", css("--muted"));
}

// --- a table

/** @param {TableName} name */
function saveTable(name) {
  // as it is shown now
  const data = () =>
    csv(
      filled[name].columns.map((column) => column.title),
      filled[name].rows,
    );
  /** @type {[string, () => void][]} */
  const parts = [["CSV", () => download(`${DATA.title} ${name}.csv`, "text/csv", data())]];
  saver($(name).closest("section"), $(name).id, parts, () => filled[name].python);
}

// --- the map

/** @param {(width: number, height: number) => Pen} makePen */
function poster(makePen) {
  // every map that is shown, with its caption, the legend and where it is from
  const { width, margin, gap, head, caption, row } = POSTER,
    columns = Math.min(2, views.length),
    rows = legendRows(width - 2 * margin),
    foot = 26 + row * rows.length; // the legend, and below it where the map is from
  const w = (width - 2 * margin - gap * (columns - 1)) / columns,
    h = Math.round(w * camera.home.aspect);
  const height = head + Math.ceil(views.length / columns) * (h + caption) + foot + margin,
    pen = makePen(width, height);
  pen.fillStyle = css("--paper");
  pen.fillRect(0, 0, width, height);
  pen.font = "bold 17px system-ui, sans-serif";
  pen.fillStyle = css("--ink");
  pen.fillText("Where the probe sees each city", margin, 26);
  views.forEach((v, k) => {
    const x = margin + (k % columns) * (w + gap),
      y = head + Math.floor(k / columns) * (h + caption);
    pen.font = "13px system-ui, sans-serif";
    pen.fillStyle = css("--ink");
    pen.fillText(captionOf(v), x, y + 14);
    pen.fillText(numbers(v), x, y + 31);
    const drawn = { ...v, width: w, height: h };
    pen.window(x, y + caption, w, h, () => {
      drawBase(pen, drawn);
      drawCities(pen, drawn);
    });
  });
  posterLegend(pen, margin, height - foot, rows);
}

/** @param {number} room */
function legendRows(room) {
  // the regions, each with its distance from the left, in as many rows as they need
  /** @type {[Region, number][][]} */
  const rows = [[]];
  let x = 0;
  for (const region of allRegions()) {
    const width = 24 + 6.6 * region.name.length;
    if (x > 0 && x + width > room) {
      rows.push([]);
      x = 0;
    }
    rows[rows.length - 1].push([region, x]);
    x += width;
  }
  return rows;
}

/** @param {Pen} pen @param {number} left @param {number} top @param {[Region, number][][]} rows */
function posterLegend(pen, left, top, rows) {
  pen.font = "12px system-ui, sans-serif";
  const lines = rows.map((row, k) =>
    row.map(([region, at]) => ({ region, x: left + at, y: top + 14 + k * POSTER.row })),
  );
  for (const { region, x, y } of lines.flat()) {
    pen.beginPath();
    (region.virtual ? star : dot)(pen, x + 6, y - 4, region.virtual ? 7 : 5);
    pen.fillStyle = tint(region.colour);
    pen.fill();
    pen.fillStyle = css("--ink");
    pen.fillText(region.name, x + 15, y);
  }
  pen.fillStyle = css("--muted");
  pen.fillText(
    `atlantis ${DATA.version}. Grey: true places. Real cities: GeoNames (CC BY 4.0). Coastlines: Natural Earth.`,
    left,
    top + 18 + POSTER.row * rows.length,
  );
}

const mapName = () => `${DATA.title} step ${timeline[state.target]}`;

function saveSvg() {
  let whole;
  poster((width, height) => (whole = new SvgPen(width, height)));
  download(`${mapName()}.svg`, "image/svg+xml", new XMLSerializer().serializeToString(whole.root));
}

function savePng() {
  let drawn;
  poster((width, height) => (drawn = new CanvasPen(width, height, 2)).pen);
  return new Promise((done) =>
    drawn.canvas.toBlob((blob) => done(download(`${mapName()}.png`, "image/png", blob)), "image/png"),
  );
}

/** @param {View} v */
function cityRows(v) {
  // none where the run is not probed yet
  const { cities, probe, run: r } = v;
  const at = indexNow(v);
  const tenths = (x) => (x === MISSING ? null : x / 10);
  if (at < 0) return [];
  return cities.ids.map((id, i) => {
    const k = at * cities.n + i;
    const about = [r.name, probe.name, probe.steps[at], id, cities.names[i], r.regions[cities.region[i]].name];
    const places = [cities.lon[i] / 10, cities.lat[i] / 10, tenths(probe.lon[k]), tenths(probe.lat[k])];
    return [...about, ...places, errorAt(v, i, at)];
  });
}

function saveCities() {
  // every city of the maps, at the step that is shown
  const titles = ["run", "probe", "step", "id", "name", "region", "lon", "lat", "pred_lon", "pred_lat", "error_km"];
  download(`${mapName()}.csv`, "text/csv", csv(titles, views.flatMap(cityRows)));
}

function mapPython() {
  const line = (v) => {
    const step = v.probe.steps[Math.max(0, indexNow(v))];
    return `load(${quoted(v.run.path)}).probes[${quoted(v.probe.name)}].predictions.query("step == ${step}")`;
  };
  return ["from atlantis.report.run_data import load", ...new Set(views.map(line))];
}
