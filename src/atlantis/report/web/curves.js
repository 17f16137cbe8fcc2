// --- curves: panels in sections, against log(1 + step), since step 0 belongs on the axis and most change is early

const W = 480, H = 250, LEFT = 58, RIGHT = 12, TOP = 12, BOTTOM = 34;

function ticks(low, high) {
  const raw = (high - low) / 4, power = 10 ** Math.floor(Math.log10(raw));
  const gap = power * [1, 2, 2.5, 5, 10].find((m) => m * power >= raw - 1e-12 * raw);
  const found = [];
  for (let v = Math.ceil(low / gap - 1e-9) * gap; v <= high + gap * 1e-9; v += gap) found.push(Math.abs(v) < gap * 1e-9 ? 0 : v);
  return found;
}

function tickDigits(values) {
  const gap = values.length > 1 ? values[1] - values[0] : 1;
  if (gap >= 1) return 0;
  return Math.min(4, Math.ceil(-Math.log10(gap) - 1e-9) + (gap.toPrecision(2).replace(/[0.]/g, "").length > 1 ? 1 : 0));
}

function scales(panel) { // from step and value to a place in the drawing
  const bounds = panel.series.flatMap((s) => s.values.concat(s.low || [], s.high || []));
  const all = bounds.concat(panel.rules.map((rule) => rule.value)).filter((v) => !absent(v));
  const lastStep = Math.max(1, ...panel.series.flatMap((s) => s.steps));
  let low = Math.min(panel.floor ?? Infinity, ...all), high = Math.max(panel.ceiling ?? -Infinity, ...all);
  low = Math.max(low, panel.lowest ?? -Infinity);
  if (!(high > low)) [low, high] = [low - 1, low + 1];
  const pad = (high - low) * 0.04;
  [low, high] = [low === panel.floor ? low : low - pad, high === panel.ceiling ? high : high + pad];
  const span = (W - LEFT - RIGHT) / Math.log1p(lastStep);
  const x = (step) => LEFT + span * Math.log1p(step);
  const y = (v) => TOP + (H - TOP - BOTTOM) * (1 - (Math.max(v, low) - low) / (high - low));
  return { x, y, low, high, lastStep, span };
}

function axes(svg, { x, y, low, high, lastStep }) {
  const marks = ticks(low, high), digits = tickDigits(marks);
  for (const v of marks) {
    make(svg, "svg:line", null, { class: "rule", x1: LEFT, x2: W - RIGHT, y1: y(v), y2: y(v) });
    make(svg, "svg:text", shown(v, digits), { x: LEFT - 6, y: y(v) + 4, "text-anchor": "end" });
  }
  const steps = [0, 1];
  for (let v = 10; v <= lastStep; v *= 10) steps.push(v);
  if (x(lastStep) - x(steps[steps.length - 1]) > 34) steps.push(lastStep);
  for (const v of steps) {
    const edge = x(v) > W - RIGHT - 15; // the last label stays inside the drawing
    make(svg, "svg:text", whole(v), { x: edge ? W - 1 : x(v), y: H - BOTTOM + 16, "text-anchor": edge ? "end" : "middle" });
  }
  make(svg, "svg:text", "step", { x: (LEFT + W - RIGHT) / 2, y: H - 3, "text-anchor": "middle" });
  make(svg, "svg:line", null, { class: "now", x1: -9, x2: -9, y1: TOP, y2: H - BOTTOM });
}

function chart(parent, panel) {
  const figure = make(parent, "figure", null, { class: "chart" });
  make(figure, "figcaption", panel.title);
  const svg = make(figure, "svg:svg", null, { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": panel.title });
  const scale = scales(panel), keys = make(figure, "div", null, { class: "keys" });
  svg.dataset.span = scale.span;
  for (const b of panel.bands) band(svg, keys, b, scale);
  axes(svg, scale);
  for (const rule of panel.rules) chance(svg, keys, rule, scale);
  for (const series of panel.series) curve(svg, keys, series, scale);
  for (const type of ["pointermove", "pointerdown"]) svg.addEventListener(type, (event) => readOff(event, svg, panel, scale));
  svg.addEventListener("pointerleave", () => tip(0, 0, null));
}

function polygon(svg, scale, steps, low, high, look) {
  const inside = steps.map((s, i) => [s, i]).filter(([, i]) => !absent(low[i]) && !absent(high[i]));
  const edge = inside.map(([s, i]) => [s, high[i]]).concat(inside.reverse().map(([s, i]) => [s, low[i]]));
  make(svg, "svg:polygon", null, { points: edge.map(([s, v]) => `${scale.x(s).toFixed(1)},${scale.y(v).toFixed(1)}`).join(" "), ...look });
}

function key(keys, label, mark, look) {
  const item = make(keys, "span"), icon = make(item, "svg:svg", null, { viewBox: "0 0 34 14", "aria-hidden": "true" });
  make(icon, mark, null, mark === "svg:line" ? { x1: 1, x2: 33, y1: 7, y2: 7, ...look } : { x: 1, y: 1, width: 32, height: 12, ...look });
  make(item, "span", label);
}

function band(svg, keys, { label, hue, steps, low, high }, scale) {
  const look = { fill: tint(LINES[hue % LINES.length]), opacity: 0.3, class: "band" };
  polygon(svg, scale, steps, low, high, look);
  key(keys, label, "svg:rect", look);
}

function chance(svg, keys, rule, { y }) {
  const colour = absent(rule.hue) ? "var(--muted)" : tint(LINES[rule.hue % LINES.length]);
  const look = { stroke: colour, "stroke-width": 1.5, "stroke-dasharray": rule.dash ? "6 3 1 3" : "1 4", class: "chance" };
  make(svg, "svg:line", null, { x1: LEFT, x2: W - RIGHT, y1: y(rule.value), y2: y(rule.value), ...look });
  if (![...keys.children].some((item) => item.textContent === rule.label)) key(keys, rule.label, "svg:line", look);
}

function curve(svg, keys, series, scale) {
  const colour = series.faint ? "var(--muted)" : tint(series.colour || LINES[series.hue % LINES.length]);
  const points = series.steps.map((s, i) => [scale.x(s), series.values[i]]).filter(([, v]) => !absent(v)).map(([x, v]) => [x, scale.y(v)]);
  if (series.low && series.high) polygon(svg, scale, series.steps, series.low, series.high, { fill: colour, opacity: 0.18 });
  const width = series.faint ? 1 : series.thin ? 1.2 : 2;
  const look = { stroke: colour, "stroke-width": width, "stroke-dasharray": DASHES[series.dash % DASHES.length], fill: "none", opacity: series.faint ? 0.7 : 1 };
  const path = points.map((p) => p.map((v) => v.toFixed(1)).join()).join(" ");
  make(svg, "svg:polyline", null, { points: path, "stroke-linejoin": "round", ...look });
  if (!series.faint) for (const [x, y] of points) make(svg, "svg:circle", null, { cx: x.toFixed(1), cy: y.toFixed(1), r: series.thin ? 1.6 : 2.6, fill: colour });
  key(keys, series.label, "svg:line", look);
}

function readOff(event, svg, panel, { span }) { // the values at the step nearest to the pointer
  const box = svg.getBoundingClientRect();
  const at = ((event.clientX - box.left) / box.width) * W;
  const marked = panel.series.filter((s) => !s.faint);
  const steps = [...new Set((marked.length ? marked : panel.series).flatMap((s) => s.steps))];
  if (!steps.length) return;
  const away = (s) => Math.abs(LEFT + span * Math.log1p(s) - at);
  const step = steps.reduce((a, b) => (away(b) < away(a) ? b : a));
  const lines = [`step ${whole(step)}`];
  for (const s of panel.series) {
    const i = s.steps.indexOf(step);
    if (i < 0) continue;
    const between = s.low && !absent(s.low[i]) ? ` (${shown(s.low[i], panel.digits)} to ${shown(s.high[i], panel.digits)})` : "";
    lines.push(`${s.label}: ${shown(s.values[i], panel.digits)}${panel.unit}${between}`);
  }
  tip(event.clientX, event.clientY, lines);
}

// One run: a colour for each series. Several: a colour for each run, a dash for each series, the main series only.
function merged(id) {
  const panels = DATA.runs.map((r) => r.panels.find((panel) => panel.id === id));
  const series = [], rules = [], bands = several ? [] : panels[0].bands || [];
  panels.forEach((panel, r) => {
    if (!panel) return;
    const label = (text) => (several ? `${DATA.runs[r].name}: ${text}` : text);
    panel.series.filter((s) => !several || !(s.faint || s.thin)).forEach((s, d) => {
      series.push({ ...s, label: label(s.label), hue: several ? r : s.hue ?? d, dash: several ? d : s.dash ?? 0, colour: several ? null : s.colour });
    });
    const kinds = [...new Set((panel.rules || []).map((rule) => rule.label))];
    for (const rule of panel.rules || []) rules.push({ ...rule, label: label(rule.label), hue: several ? r : null, dash: kinds.indexOf(rule.label) });
  });
  return { digits: 0, unit: "", ...panels.find(Boolean), series, rules, bands };
}

function curves() {
  $("curves").replaceChildren();
  for (const section of DATA.sections) {
    const ids = [...new Set(DATA.runs.flatMap((r) => r.panels.filter((p) => p.section === section.id).map((p) => p.id)))];
    const panels = ids.map(merged).filter((panel) => panel.series.some((s) => s.values.some((v) => !absent(v))));
    if (!panels.length) continue;
    const part = make($("curves"), "section"), title = `curves-${section.id}`;
    part.setAttribute("aria-labelledby", title);
    make(part, "h2", section.title, { id: title });
    if (section.note) make(part, "p", section.note, { class: "note" });
    const grid = make(part, "div", null, { class: "grid" });
    for (const panel of panels) chart(grid, panel);
  }
}
