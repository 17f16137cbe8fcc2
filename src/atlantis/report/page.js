"use strict";
// One page, one state. Every text from the data goes in by textContent; nothing is ever parsed as HTML.

const DATA = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const LINES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]; // Okabe and Ito (2008)
const DASHES = ["", "7 4", "2 3", "9 3 2 3"];
const still = window.matchMedia("(prefers-reduced-motion: reduce)");
const dark = window.matchMedia("(prefers-color-scheme: dark)");
let printing = false;

const state = { run: 0, protocol: "", at: 0, target: 0, only: new Set(), picked: -1, pinned: false, timer: 0, frame: 0 };

const whole = (x) => (x === null || x === undefined ? "–" : Math.round(x).toLocaleString("en").replace("-", "\u2212"));
const fixed = (x, digits) => (x === null || x === undefined ? "–" : x.toFixed(digits));
const degrees = (lon, lat) =>
  `${Math.abs(lat).toFixed(1)}° ${lat < 0 ? "S" : "N"}, ${Math.abs(lon).toFixed(1)}° ${lon < 0 ? "W" : "E"}`;

function make(parent, tag, text, attributes) {
  const node = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = text;
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  if (parent) parent.append(node);
  return node;
}

function int16(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Int16Array.from({ length: bytes.length / 2 }, (_, i) => view.getInt16(2 * i, true));
}

// Numbers come packed: tenths of a degree and whole km as little-endian int16, [steps x cities].
for (const run of DATA.runs) {
  for (const probe of Object.values(run.probes)) {
    for (const key of ["lon", "lat", "pred_lon", "pred_lat", "error_km"]) probe[key] = int16(probe[key]);
    probe.n = probe.names.length;
  }
}
const MISSING = -32768;
const run = () => DATA.runs[state.run];
const probe = () => run().probes[state.protocol];

// --- colours

const PAPER = { "--sea": "#ffffff", "--land": "#e7eaee", "--coast": "#b4bac2", "--true": "#9aa1aa", "--ink": "#000000" };

function css(name) { // a canvas is drawn before the page is laid out for print, so it cannot ask the style sheet then
  if (printing) return PAPER[name];
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function tint(hex) { // on a dark page the darkest region colours are lifted towards white
  if (!dark.matches || printing) return hex;
  const rgb = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const light = (0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]) / 255;
  const lift = light < 0.45 ? 0.45 - light : 0;
  return `rgb(${rgb.map((c) => Math.round(c + (255 - c) * lift * 1.2)).join(" ")})`;
}

// --- the map

const canvas = $("map");
const view = { width: 0, height: 0, south: -60, north: 85 };
const px = (lon10) => ((lon10 / 10 + 180) / 360) * view.width;
const py = (lat10) => ((view.north - lat10 / 10) / (view.north - view.south)) * view.height;

function resize() {
  if (!probe()) return;
  const width = canvas.parentElement.clientWidth;
  const scale = window.devicePixelRatio || 1;
  view.width = width;
  view.height = Math.round((width * (view.north - view.south)) / 360);
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(view.height * scale);
  canvas.getContext("2d").setTransform(scale, 0, 0, scale, 0, 0);
  draw();
}

function latitudes(p) {
  let south = -580, north = 830;
  for (const values of [p.lat, p.pred_lat]) {
    for (const v of values) {
      if (v !== MISSING && v < south) south = v;
      if (v > north) north = v;
    }
  }
  view.south = Math.max(-90, south / 10 - 2);
  view.north = Math.min(90, north / 10 + 2);
}

function shown(p, i) {
  return $("cities").value === "all" || p.held[i] === "1";
}

function place(p, i, at) { // the predicted place between two checkpoints, in tenths of a degree
  const k = Math.floor(at), share = at - k, a = k * p.n + i, b = share ? a + p.n : a;
  if (p.pred_lon[a] === MISSING || p.pred_lon[b] === MISSING) return null;
  let turn = p.pred_lon[b] - p.pred_lon[a];
  if (turn > 1800) turn -= 3600;
  if (turn < -1800) turn += 3600;
  let lon = p.pred_lon[a] + share * turn;
  if (lon > 1800) lon -= 3600;
  if (lon < -1800) lon += 3600;
  return [lon, p.pred_lat[a] + share * (p.pred_lat[b] - p.pred_lat[a])];
}

function drawLand(pen) {
  pen.fillStyle = css("--sea");
  pen.fillRect(0, 0, view.width, view.height);
  pen.beginPath();
  for (const ring of DATA.land) {
    for (let i = 0; i < ring.length; i += 2) pen[i ? "lineTo" : "moveTo"](px(ring[i]), py(ring[i + 1]));
    pen.closePath();
  }
  pen.fillStyle = css("--land");
  pen.fill("evenodd");
  pen.beginPath();
  for (const ring of DATA.land) {
    for (let i = 2; i < ring.length; i += 2) {
      const seam = Math.abs(ring[i]) === 1800 && Math.abs(ring[i - 2]) === 1800;
      if (seam || (ring[i + 1] === -900 && ring[i - 1] === -900)) continue;
      pen.moveTo(px(ring[i - 2]), py(ring[i - 1]));
      pen.lineTo(px(ring[i]), py(ring[i + 1]));
    }
  }
  pen.strokeStyle = css("--coast");
  pen.lineWidth = 0.6;
  pen.stroke();
}

function dot(pen, x, y, r) {
  pen.moveTo(x + r, y);
  pen.arc(x, y, r, 0, 2 * Math.PI);
}

function star(pen, x, y, r) {
  for (let k = 0; k < 10; k++) {
    const a = (k * Math.PI) / 5 - Math.PI / 2, d = k % 2 ? r * 0.42 : r;
    pen[k ? "lineTo" : "moveTo"](x + d * Math.cos(a), y + d * Math.sin(a));
  }
  pen.closePath();
}

function line(pen, lon1, lat1, lon2, lat2) { // the short way round; left out where it would cross the whole map
  if (Math.abs(lon2 - lon1) > 1800) return;
  pen.moveTo(px(lon1), py(lat1));
  pen.lineTo(px(lon2), py(lat2));
}

function draw() {
  const p = probe();
  if (!p || !view.width) return;
  const pen = canvas.getContext("2d");
  drawLand(pen);
  const r = Math.max(1.5, view.width / 460);
  pen.fillStyle = css("--true");
  pen.beginPath();
  for (let i = 0; i < p.n; i++) {
    if (!shown(p, i)) continue;
    if (run().regions[p.region[i]].virtual) star(pen, px(p.lon[i]), py(p.lat[i]), r * 1.7);
    else dot(pen, px(p.lon[i]), py(p.lat[i]), r * 0.6);
  }
  pen.fill();
  const members = run().regions.map(() => []);
  for (let i = 0; i < p.n; i++) if (shown(p, i)) members[p.region[i]].push(i);
  run().regions.forEach((region, k) => drawRegion(pen, p, region, members[k], r));
  if (state.picked >= 0) drawPicked(pen, p, state.picked, r);
}

function drawRegion(pen, p, region, cities, r) {
  pen.globalAlpha = state.only.size === 0 || state.only.has(region.name) ? 0.85 : 0.07;
  pen.fillStyle = pen.strokeStyle = tint(region.colour);
  const places = cities.map((i) => place(p, i, state.at));
  if ($("lines").checked) {
    pen.beginPath();
    places.forEach((to, j) => to && line(pen, p.lon[cities[j]], p.lat[cities[j]], to[0], to[1]));
    pen.lineWidth = 0.5;
    pen.stroke();
  }
  pen.beginPath();
  for (const to of places) if (to) (region.virtual ? star : dot)(pen, px(to[0]), py(to[1]), region.virtual ? r * 2.6 : r);
  pen.fill();
  if (region.virtual) {
    pen.strokeStyle = css("--sea");
    pen.lineWidth = 0.6;
    pen.stroke();
  }
  pen.globalAlpha = 1;
}

function drawPicked(pen, p, i, r) { // the city's true place, its way through the checkpoints, where it is now
  pen.strokeStyle = css("--ink");
  pen.lineWidth = 1;
  pen.setLineDash([3, 3]);
  pen.beginPath();
  for (let k = 1; k < p.steps.length; k++) {
    const a = place(p, i, k - 1), b = place(p, i, k);
    if (a && b) line(pen, a[0], a[1], b[0], b[1]);
  }
  pen.stroke();
  pen.setLineDash([]);
  pen.lineWidth = 1.6;
  pen.beginPath();
  const to = place(p, i, state.at), x = px(p.lon[i]), y = py(p.lat[i]);
  pen.rect(x - 2 * r, y - 2 * r, 4 * r, 4 * r);
  if (to) {
    line(pen, p.lon[i], p.lat[i], to[0], to[1]);
    dot(pen, px(to[0]), py(to[1]), 2.6 * r);
  }
  pen.stroke();
}

// --- the step: slider, play, one transition

function go(index, smoothly = true) {
  const p = probe();
  state.target = Math.max(0, Math.min(p.steps.length - 1, index));
  cancelAnimationFrame(state.frame);
  describe();
  if (!smoothly || still.matches) {
    state.at = state.target;
    return draw();
  }
  const from = state.at, to = state.target, begun = performance.now();
  const tick = (now) => {
    const share = Math.min(1, Math.max(0, (now - begun) / 350));
    state.at = share === 1 ? to : from + (to - from) * share;
    draw();
    if (share < 1) state.frame = requestAnimationFrame(tick);
  };
  state.frame = requestAnimationFrame(tick);
}

function play() {
  if (state.timer) return stop();
  $("play").textContent = "Pause";
  if (state.target === probe().steps.length - 1) go(0, false);
  state.timer = setInterval(() => {
    if (state.target < probe().steps.length - 1) go(state.target + 1);
    if (state.target >= probe().steps.length - 1) stop();
  }, 800);
}

function stop() {
  clearInterval(state.timer);
  state.timer = 0;
  $("play").textContent = "Play";
}

function describe() { // every text that follows the step
  const p = probe(), step = p.steps[state.target], label = `step ${whole(step)}`;
  $("step").value = state.target;
  $("step").setAttribute("aria-valuetext", label);
  $("step-name").textContent = label;
  const parts = p.groups.map((group) => {
    const km = `${whole(group.mean_km[state.target])} km`;
    if (group.virtual) return `${group.name}: ${km} from the true places`;
    return `Held-out real cities: R² ${fixed(group.lon_r2[state.target], 3)} lon, ${fixed(group.lat_r2[state.target], 3)} lat; ${km}`;
  });
  $("map-numbers").textContent = parts.join("  ·  ");
  for (const row of $("table").tBodies[0].rows) row.classList.toggle("now", Number(row.dataset.step) === step);
  for (const rule of document.querySelectorAll("svg .now")) {
    const x = Number(rule.parentNode.dataset.left) + Number(rule.parentNode.dataset.span) * Math.log1p(step);
    rule.setAttribute("x1", x);
    rule.setAttribute("x2", x);
  }
  regionsTable();
  picked();
}

// --- one city

function pick(i, pinned) {
  state.picked = i;
  state.pinned = pinned;
  picked();
  draw();
}

function story(i) {
  const p = probe(), k = state.target * p.n + i;
  const lines = [`${p.names[i]} (${run().regions[p.region[i]].name}, id ${p.ids[i]})`];
  lines.push(`true ${degrees(p.lon[i] / 10, p.lat[i] / 10)}`);
  if (p.pred_lon[k] === MISSING) return [...lines, "no prediction at this step"];
  lines.push(`predicted ${degrees(p.pred_lon[k] / 10, p.pred_lat[k] / 10)}`);
  return [...lines, `error ${whole(p.error_km[k] === MISSING ? null : p.error_km[k])} km`];
}

function picked() {
  $("picked").textContent = state.picked < 0 ? "" : story(state.picked).join(" · ");
}

function nearest(x, y) {
  const p = probe();
  let best = -1, distance = 14 * 14;
  for (let i = 0; i < p.n; i++) {
    if (!shown(p, i) || (state.only.size && !state.only.has(run().regions[p.region[i]].name))) continue;
    const to = place(p, i, state.at);
    if (!to) continue;
    const d = (px(to[0]) - x) ** 2 + (py(to[1]) - y) ** 2;
    if (d < distance) [best, distance] = [i, d];
  }
  return best;
}

function tip(event, lines) {
  const box = $("tip");
  box.hidden = !lines;
  if (!lines) return;
  box.textContent = lines.join("\n");
  const left = Math.min(event.clientX + 14, window.innerWidth - box.offsetWidth - 8);
  box.style.left = `${Math.max(4, left)}px`;
  const below = event.clientY + 16;
  box.style.top = `${below + box.offsetHeight > window.innerHeight ? event.clientY - box.offsetHeight - 10 : below}px`;
}

function hover(event) {
  const i = nearest(event.offsetX, event.offsetY);
  tip(event, i < 0 ? null : story(i));
  if (event.type === "pointerdown") return pick(i, i >= 0);
  if (!state.pinned && i !== state.picked) pick(i, false);
}

function find() {
  const text = $("find").value.trim().toLocaleLowerCase();
  const names = probe().names.map((name) => name.toLocaleLowerCase());
  let i = text ? names.indexOf(text) : -1;
  if (i < 0 && text) i = names.findIndex((name) => name.startsWith(text));
  if (i < 0 && text) i = names.findIndex((name) => name.includes(text));
  if (i >= 0 && !shown(probe(), i)) $("cities").value = "all";
  pick(i, i >= 0);
  if (text && i < 0) $("picked").textContent = "No city of that name.";
}

// --- legend and tables

function legend() {
  const box = $("legend");
  box.replaceChildren();
  for (const region of run().regions) {
    const button = make(box, "button", null, { type: "button", "aria-pressed": state.only.has(region.name) });
    const icon = make(button, "svg:svg", null, { viewBox: "-6 -6 12 12", "aria-hidden": "true" });
    if (region.virtual) {
      const points = Array.from({ length: 10 }, (_, k) => {
        const a = (k * Math.PI) / 5 - Math.PI / 2, d = k % 2 ? 2.5 : 6;
        return `${(d * Math.cos(a)).toFixed(2)},${(d * Math.sin(a)).toFixed(2)}`;
      });
      make(icon, "svg:polygon", null, { points: points.join(" "), fill: tint(region.colour) });
    } else make(icon, "svg:circle", null, { r: 5, fill: tint(region.colour) });
    make(button, "span", region.name);
    button.addEventListener("click", () => {
      state.only[state.only.has(region.name) ? "delete" : "add"](region.name);
      button.setAttribute("aria-pressed", state.only.has(region.name));
      draw();
    });
  }
}

function mainTable() {
  const table = $("table"), { columns, rows } = run().table;
  table.replaceChildren();
  const head = make(make(table, "thead"), "tr");
  for (const column of columns) make(head, "th", column.title, { scope: "col" });
  const body = make(table, "tbody");
  for (const values of rows) {
    const row = make(body, "tr", null, { "data-step": values[0] });
    values.forEach((value, k) => make(row, "td", columns[k].digits ? fixed(value, columns[k].digits) : whole(value)));
  }
}

const order = { column: 3, down: true };

function regionsTable() {
  const p = probe(), k = state.target, table = $("regions");
  const titles = ["region", "cities", `km at step ${whole(p.steps[0])}`, `km at step ${whole(p.steps[k])}`, "change, km"];
  const rows = p.by_region.map(({ name, n, mean_km: km }) => {
    const change = km[k] === null || km[0] === null ? null : km[k] - km[0];
    return [name, n, km[0], km[k], change];
  });
  const key = (row) => row[order.column] ?? -Infinity;
  rows.sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0) * (order.down ? -1 : 1));
  const focused = table.contains(document.activeElement) ? order.column : -1;
  table.replaceChildren();
  const head = make(make(table, "thead"), "tr");
  titles.forEach((title, c) => {
    const cell = make(head, "th", null, { scope: "col" });
    if (c === order.column) cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    const button = make(cell, "button", c === order.column ? `${title} ${order.down ? "↓" : "↑"}` : title, { type: "button" });
    button.addEventListener("click", () => {
      order.down = c === order.column ? !order.down : c > 0;
      order.column = c;
      button.focus({ preventScroll: true });
      regionsTable();
    });
    if (c === focused) button.focus({ preventScroll: true });
  });
  const body = make(table, "tbody");
  for (const row of rows) {
    const line = make(body, "tr");
    row.forEach((value, c) => make(line, "td", c === 0 ? value : c === 4 && value > 0 ? `+${whole(value)}` : whole(value)));
  }
}

// --- curves

function ticks(low, high) {
  const raw = (high - low) / 4, power = 10 ** Math.floor(Math.log10(raw));
  const gap = power * [1, 2, 2.5, 5, 10].find((m) => m * power >= raw);
  const found = [];
  for (let v = Math.ceil(low / gap - 1e-9) * gap; v <= high + gap * 1e-9; v += gap) found.push(Math.abs(v) < gap * 1e-9 ? 0 : v);
  return found;
}

function chart(panel) {
  const figure = make($("curves"), "figure", null, { class: "chart" });
  make(figure, "figcaption", panel.title);
  const W = 480, H = 250, left = 50, right = 12, top = 12, bottom = 34;
  const svg = make(figure, "svg:svg", null, { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": panel.title });
  const all = panel.series.flatMap((s) => s.values.concat(s.low || [], s.high || [])).filter((v) => v !== null);
  const lastStep = Math.max(1, ...panel.series.flatMap((s) => s.steps));
  let low = Math.min(panel.floor ?? Infinity, ...all), high = Math.max(panel.ceiling ?? -Infinity, ...all);
  low = Math.max(low, panel.lowest ?? -Infinity);
  if (!(high > low)) [low, high] = [low - 1, low + 1];
  const pad = (high - low) * 0.04;
  [low, high] = [low === panel.floor ? low : low - pad, high === panel.ceiling ? high : high + pad];
  const span = (W - left - right) / Math.log1p(lastStep);
  const x = (step) => left + span * Math.log1p(step);
  const y = (v) => top + (H - top - bottom) * (1 - (Math.max(v, low) - low) / (high - low));
  svg.dataset.left = left;
  svg.dataset.span = span;
  const yTicks = ticks(low, high), gap = yTicks.length > 1 ? yTicks[1] - yTicks[0] : 1;
  const digits = gap >= 1 ? 0 : Math.min(4, Math.ceil(-Math.log10(gap) - 1e-9) + (gap.toPrecision(2).replace(/[0.]/g, "").length > 1 ? 1 : 0));
  for (const v of yTicks) {
    make(svg, "svg:line", null, { class: "rule", x1: left, x2: W - right, y1: y(v), y2: y(v) });
    make(svg, "svg:text", digits ? v.toFixed(digits) : whole(v), { x: left - 6, y: y(v) + 4, "text-anchor": "end" });
  }
  const marks = [0, 1];
  for (let v = 10; v <= lastStep; v *= 10) marks.push(v);
  if (x(lastStep) - x(marks[marks.length - 1]) > 34) marks.push(lastStep);
  for (const v of marks) make(svg, "svg:text", whole(v), { x: x(v), y: H - bottom + 16, "text-anchor": "middle" });
  make(svg, "svg:text", "step", { x: (left + W - right) / 2, y: H - 3, "text-anchor": "middle" });
  make(svg, "svg:line", null, { class: "now", x1: -9, x2: -9, y1: top, y2: H - bottom });
  const keys = make(figure, "div", null, { class: "keys" });
  for (const series of panel.series) curve(svg, keys, series, x, y);
  svg.addEventListener("pointermove", (event) => readOff(event, svg, panel, W, left, span));
  svg.addEventListener("pointerleave", () => tip(null, null));
}

function curve(svg, keys, series, x, y) {
  const colour = series.faint ? "var(--muted)" : tint(series.colour || LINES[series.hue % LINES.length]);
  const dash = DASHES[series.dash % DASHES.length];
  const points = series.steps.map((s, i) => [s, i]).filter(([, i]) => series.values[i] !== null);
  if (series.low && series.high) {
    const inside = points.filter(([, i]) => series.low[i] !== null && series.high[i] !== null);
    const edge = [...inside.map(([s, i]) => [x(s), y(series.high[i])]), ...inside.reverse().map(([s, i]) => [x(s), y(series.low[i])])];
    make(svg, "svg:polygon", null, { points: edge.map((p) => p.map((v) => v.toFixed(1)).join()).join(" "), fill: colour, opacity: 0.18 });
  }
  const path = points.map(([s, i]) => `${x(s).toFixed(1)},${y(series.values[i]).toFixed(1)}`).join(" ");
  const look = { stroke: colour, "stroke-width": series.faint ? 1 : 2, "stroke-dasharray": dash, fill: "none", opacity: series.faint ? 0.7 : 1 };
  make(svg, "svg:polyline", null, { points: path, "stroke-linejoin": "round", ...look });
  if (!series.faint) for (const [s, i] of points) make(svg, "svg:circle", null, { cx: x(s).toFixed(1), cy: y(series.values[i]).toFixed(1), r: 2.6, fill: colour });
  const key = make(keys, "span");
  const icon = make(key, "svg:svg", null, { viewBox: "0 0 34 14", "aria-hidden": "true" });
  make(icon, "svg:line", null, { x1: 1, x2: 33, y1: 7, y2: 7, ...look });
  make(key, "span", series.label);
}

function readOff(event, svg, panel, W, left, span) {
  const box = svg.getBoundingClientRect();
  const at = ((event.clientX - box.left) / box.width) * W;
  const marked = panel.series.filter((s) => !s.faint);
  const steps = [...new Set((marked.length ? marked : panel.series).flatMap((s) => s.steps))];
  if (!steps.length) return;
  const away = (s) => Math.abs(left + span * Math.log1p(s) - at);
  const step = steps.reduce((a, b) => (away(b) < away(a) ? b : a));
  const lines = [`step ${whole(step)}`];
  for (const s of panel.series) {
    const i = s.steps.indexOf(step);
    if (i >= 0) lines.push(`${s.label}: ${panel.digits ? fixed(s.values[i], panel.digits) : `${whole(s.values[i])} km`}`);
  }
  tip(event, lines);
}

function curves() { // one run: a colour for each series; several: a colour for each run, a dash for each series
  $("curves").replaceChildren();
  const several = DATA.runs.length > 1;
  DATA.runs[0].panels.forEach((first, k) => {
    const series = [];
    DATA.runs.forEach((run, r) => {
      run.panels[k].series.filter((s) => !several || !s.faint).forEach((s, d) => {
        if (several) series.push({ ...s, label: `${run.name}: ${s.label}`, hue: r, dash: d, colour: null });
        else series.push({ ...s, hue: s.hue ?? d, dash: 0 });
      });
    });
    if (series.some((s) => s.values.some((v) => v !== null))) chart({ ...first, series });
  });
}

// --- what was run

function about() {
  const list = $("about");
  list.replaceChildren();
  for (const { label, value, code } of run().about) {
    make(list, "dt", label);
    make(list, "dd", value, code ? { class: "code" } : {});
  }
  $("config-section").hidden = !run().config;
  $("config").textContent = run().config;
  $("files").replaceChildren();
  run().files.forEach((href) => make($("files"), "a", href.split("/").pop(), { href }));
}

function showProtocol(name) {
  stop();
  state.protocol = name;
  state.only.clear();
  state.picked = -1;
  const p = probe();
  const visible = Boolean(p);
  $("map-section").hidden = $("regions-section").hidden = !visible;
  if (!visible) return;
  latitudes(p);
  $("step").max = p.steps.length - 1;
  const names = $("city-names");
  names.replaceChildren();
  for (const name of p.names) make(names, "option", null, { value: name });
  legend();
  state.at = p.steps.length - 1;
  go(p.steps.length - 1, false);
  resize();
}

function showRun(index) {
  state.run = index;
  $("finding").textContent = run().finding;
  mainTable();
  about();
  const choice = $("protocol"), protocols = Object.entries(run().probes);
  choice.replaceChildren();
  for (const [name, p] of protocols) make(choice, "option", p.title, { value: name });
  $("protocol-choice").hidden = protocols.length < 2;
  showProtocol(protocols.length ? protocols[0][0] : "");
}

function redraw() {
  curves();
  if (!probe()) return;
  legend();
  describe();
  draw();
}

$("title").textContent = DATA.title;
$("version").textContent = `atlantis ${DATA.version}`.trim();
DATA.runs.forEach((run, k) => make($("run"), "option", run.name, { value: k }));
$("run-choice").hidden = DATA.runs.length < 2;
$("run").addEventListener("change", () => showRun(Number($("run").value)));
$("protocol").addEventListener("change", () => showProtocol($("protocol").value));
$("step").addEventListener("input", () => (stop(), go(Number($("step").value))));
$("play").addEventListener("click", play);
$("cities").addEventListener("change", draw);
$("lines").addEventListener("change", draw);
$("find").addEventListener("input", find);
canvas.addEventListener("pointermove", hover);
canvas.addEventListener("pointerdown", hover);
canvas.addEventListener("pointerleave", (event) => {
  tip(event, null);
  if (!state.pinned) pick(-1, false);
});
window.addEventListener("resize", resize);
dark.addEventListener("change", redraw);
window.addEventListener("beforeprint", () => ((printing = true), redraw()));
window.addEventListener("afterprint", () => ((printing = false), redraw()));
curves();
showRun(0);
