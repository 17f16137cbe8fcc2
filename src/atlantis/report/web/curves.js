// --- curves: panels in sections, against log(1 + step), since step 0 belongs on the axis and most change is early

const W = 480,
  H = 250,
  LEFT = 58,
  RIGHT = 12,
  TOP = 12,
  BOTTOM = 34;
const hiddenCurves = new Set(); // `panel: label` of what its legend has switched off

/** @param {number} low @param {number} high */
function ticks(low, high) {
  const raw = (high - low) / 4,
    power = 10 ** Math.floor(Math.log10(raw));
  const gap = power * [1, 2, 2.5, 5, 10].find((m) => m * power >= raw - 1e-12 * raw);
  const found = [];
  for (let v = Math.ceil(low / gap - 1e-9) * gap; v <= high + gap * 1e-9; v += gap)
    found.push(Math.abs(v) < gap * 1e-9 ? 0 : v);
  return found;
}

/** @param {number[]} values */
function tickDigits(values) {
  const gap = values.length > 1 ? values[1] - values[0] : 1;
  if (gap >= 1) return Number.isInteger(gap) ? 0 : 1;
  return Math.min(4, Math.ceil(-Math.log10(gap) - 1e-9) + (gap.toPrecision(2).replace(/[0.]/g, "").length > 1 ? 1 : 0));
}

// From step and value to a place in the drawing. Curves set the range; a line of chance that is far off is only named.
/** @param {Panel} panel */
function scales(panel) {
  const values = panel.series.flatMap((s) => s.values.concat(s.low || [], s.high || [])).filter((v) => !absent(v));
  const lastStep = Math.max(1, ...panel.series.flatMap((s) => s.steps));
  let low = Math.min(panel.floor ?? Infinity, ...values),
    high = Math.max(panel.ceiling ?? -Infinity, ...values);
  low = Math.max(low, panel.lowest ?? -Infinity);
  if (!(high > low)) [low, high] = [low - 1, low + 1];
  const near = panel.rules
    .map((rule) => rule.value)
    .filter((v) => v >= low - (high - low) / 2 && v <= high + (high - low) / 2);
  [low, high] = [Math.min(low, ...near), Math.max(high, ...near)];
  const pad = (high - low) * 0.04;
  [low, high] = [low === panel.floor ? low : low - pad, high === panel.ceiling ? high : high + pad];
  const span = (W - LEFT - RIGHT) / Math.log1p(lastStep);
  const x = (step) => LEFT + span * Math.log1p(step);
  const y = (v) => TOP + (H - TOP - BOTTOM) * (1 - (Math.min(high, Math.max(v, low)) - low) / (high - low));
  return { x, y, low, high, lastStep, span };
}

/** @param {SVGSVGElement} svg @param {Scale} given */
function axes(svg, { x, y, low, high, lastStep }) {
  const marks = ticks(low, high),
    digits = tickDigits(marks);
  for (const v of marks) {
    make(svg, "svg:line", null, { class: "rule", x1: LEFT, x2: W - RIGHT, y1: y(v), y2: y(v) });
    make(svg, "svg:text", shown(v, digits), { x: LEFT - 6, y: y(v) + 4, "text-anchor": "end" });
  }
  const steps = [0, 1];
  for (let v = 10; v <= lastStep; v *= 10) steps.push(v);
  if (x(lastStep) - x(steps[steps.length - 1]) > 34) steps.push(lastStep);
  for (const v of steps) {
    const edge = x(v) > W - RIGHT - 15; // the last label stays inside the drawing
    make(svg, "svg:text", whole(v), {
      x: edge ? W - 1 : x(v),
      y: H - BOTTOM + 16,
      "text-anchor": edge ? "end" : "middle",
    });
  }
  make(svg, "svg:text", "step", { x: (LEFT + W - RIGHT) / 2, y: H - 3, "text-anchor": "middle" });
  for (const name of ["now", "cross"])
    make(svg, "svg:line", null, { class: name, x1: -9, x2: -9, y1: TOP, y2: H - BOTTOM });
}

/** @param {Element} parent @param {Panel} panel */
function chart(parent, panel) {
  const figure = make(parent, "figure", null, { class: "chart" });
  const caption = make(figure, "figcaption"),
    name = make(caption, "span", panel.title);
  name.id = `chart-${panel.id}`;
  const label = `${panel.title}. Left and right arrow keys read the values step by step, Enter moves the maps there.`;
  const svg = make(figure, "svg:svg", null, {
    viewBox: `0 0 ${W} ${H}`,
    role: "application",
    tabindex: 0,
    "aria-label": label,
  });
  const keys = make(figure, "div", null, {
    class: "keys",
    role: "group",
    "aria-label": "Curves: press to hide or to show",
  });
  const menus = make(figure, "div", null, { class: "menus" });
  wordsOf(menus, panel);
  saveChart(menus, panel, svg);
  readable(svg, panel);
  redrawChart(svg, keys, panel);
}

/** @param {SVGSVGElement} svg @param {HTMLElement} keys @param {Panel} panel */
function redrawChart(svg, keys, panel) {
  const isOn = ({ label }) => !hiddenCurves.has(`${panel.id}: ${label}`);
  const on = {
    ...panel,
    series: panel.series.filter(isOn),
    rules: panel.rules.filter(isOn),
    bands: panel.bands.filter(isOn),
  };
  const scale = scales(on.series.length ? on : panel);
  svg.replaceChildren();
  keys.replaceChildren();
  svg.dataset.span = String(scale.span);
  axes(svg, scale);
  for (const b of on.bands) polygon(svg, scale, b.steps, b.low, b.high, { ...bandLook(b), class: "band" });
  for (const rule of on.rules) if (rule.value >= scale.low && rule.value <= scale.high) chance(svg, rule, scale);
  for (const s of on.series) curve(svg, s, scale);
  const press = (label) => () => {
    const name = `${panel.id}: ${label}`;
    hiddenCurves[hiddenCurves.has(name) ? "delete" : "add"](name);
    redrawChart(svg, keys, panel);
    markStep();
    for (const item of /** @type {HTMLCollectionOf<HTMLElement>} */ (keys.children))
      if (item.dataset.label === label) item.focus();
  };
  for (const b of panel.bands) key(keys, b.label, "svg:rect", bandLook(b), isOn(b), press(b.label));
  for (const [label, [text, rule]] of namesOfChance(panel, scale))
    key(keys, label, "svg:line", chanceLook(rule), isOn(rule), press(label), text);
  for (const s of panel.series) key(keys, s.label, "svg:line", curveLook(s), isOn(s), press(s.label));
}

/** @param {Panel} panel @param {Scale} given */
function namesOfChance(panel, { low, high }) {
  // a label for each kind; what is beyond the drawing has its value there
  const named = new Map();
  for (const rule of panel.rules) {
    const beyond = rule.value < low ? "below" : rule.value > high ? "above" : "";
    const more = beyond ? `${shown(rule.value, panel.digits)}${panel.unit}, ${beyond}` : "";
    const [text, first] = named.get(rule.label) ?? [rule.label, rule];
    named.set(rule.label, [more ? `${text}${text.includes(": ") ? "; " : ": "}${more}` : text, first]);
  }
  return named;
}

/** @param {SVGSVGElement} svg @param {Scale} scale @param {number[]} steps @param {number[]} low
 * @param {number[]} high @param {Look} look */
function polygon(svg, scale, steps, low, high, look) {
  const inside = steps.map((s, i) => [s, i]).filter(([, i]) => !absent(low[i]) && !absent(high[i]));
  const edge = inside.map(([s, i]) => [s, high[i]]).concat(inside.reverse().map(([s, i]) => [s, low[i]]));
  make(svg, "svg:polygon", null, {
    points: edge.map(([s, v]) => `${scale.x(s).toFixed(1)},${scale.y(v).toFixed(1)}`).join(" "),
    ...look,
  });
}

/** @param {HTMLElement} keys @param {string} label @param {string} mark @param {Look} look
 * @param {boolean} isOn @param {() => void} press @param {string} [text] */
function key(keys, label, mark, look, isOn, press, text = label) {
  const item = make(keys, "button", null, { type: "button", "aria-pressed": isOn, "data-label": label });
  const icon = make(item, "svg:svg", null, { viewBox: "0 0 34 14", "aria-hidden": "true" });
  make(
    icon,
    mark,
    null,
    mark === "svg:line" ? { x1: 1, x2: 33, y1: 7, y2: 7, ...look } : { x: 1, y: 1, width: 32, height: 12, ...look },
  );
  make(item, "span", text);
  item.addEventListener("click", press);
}

/** @param {Band} given */
const bandLook = ({ hue }) => ({ fill: tint(LINES[hue % LINES.length]), opacity: 0.3 });

/** @param {Rule} given */
const chanceLook = ({ hue, dash }) => ({
  stroke: absent(hue) ? "var(--muted)" : tint(LINES[hue % LINES.length]),
  "stroke-width": 1.5,
  "stroke-dasharray": dash ? "6 3 1 3" : "1 4",
});

/** @param {SVGSVGElement} svg @param {Rule} rule @param {Scale} given */
function chance(svg, rule, { y }) {
  make(svg, "svg:line", null, {
    x1: LEFT,
    x2: W - RIGHT,
    y1: y(rule.value),
    y2: y(rule.value),
    ...chanceLook(rule),
    class: "chance",
  });
}

/** @param {Curve} series */
const colourOf = (series) => (series.faint ? "var(--muted)" : tint(series.colour || LINES[series.hue % LINES.length]));

/** @param {Curve} series */
const curveLook = (series) => ({
  stroke: colourOf(series),
  "stroke-width": series.faint ? 1 : series.thin ? 1.2 : 2,
  "stroke-dasharray": DASHES[series.dash % DASHES.length],
  fill: "none",
  opacity: series.faint ? 0.7 : 1,
});

/** @param {SVGSVGElement} svg @param {Curve} series @param {Scale} scale */
function curve(svg, series, scale) {
  const fill = colourOf(series);
  const points = series.steps
    .map((s, i) => [scale.x(s), series.values[i]])
    .filter(([, v]) => !absent(v))
    .map(([x, v]) => [x, scale.y(v)]);
  if (series.low && series.high)
    polygon(svg, scale, series.steps, series.low, series.high, { fill, opacity: 0.18, class: "interval" });
  const path = points.map((p) => p.map((v) => v.toFixed(1)).join()).join(" ");
  make(svg, "svg:polyline", null, { points: path, "stroke-linejoin": "round", ...curveLook(series) });
  if (!series.faint)
    for (const [x, y] of points)
      make(svg, "svg:circle", null, { cx: x.toFixed(1), cy: y.toFixed(1), r: series.thin ? 1.6 : 2.6, fill });
}

// One run: a colour for each series. Several: a colour for each run, a dash for each series, the main series only.
// Runs that share a colour, as the first and the seventh, have dashes of their own.
/** @param {string} id */
function merged(id) {
  const panels = DATA.runs.map((r) => r.panels.find((panel) => panel.id === id));
  const series = [],
    rules = [],
    bands = several ? [] : panels[0].bands || [];
  const main = panels.map((panel) => (panel?.series ?? []).filter((s) => !several || !(s.faint || s.thin))),
    most = Math.max(...main.map((of) => of.length));
  panels.forEach((panel, r) => {
    if (!panel) return;
    const label = (text) => (several ? `${DATA.runs[r].name}: ${text}` : text);
    main[r].forEach((s, d) => {
      series.push({
        ...s,
        label: label(s.label),
        hue: several ? r : (s.hue ?? d),
        dash: several ? d + most * Math.floor(r / LINES.length) : (s.dash ?? 0),
        colour: several ? null : s.colour,
      });
    });
    const kinds = [...new Set((panel.rules || []).map((rule) => rule.label))];
    for (const rule of panel.rules || [])
      rules.push({ ...rule, label: label(rule.label), hue: several ? r : null, dash: kinds.indexOf(rule.label) });
  });
  return { digits: 0, unit: "", ...panels.find(Boolean), series, rules, bands };
}

const isMean = () => Boolean(DATA.means) && $("seeds").checked;

/** @param {string} id */
function mean(id) {
  // over seeds, drawn as one run's
  const panel = DATA.means.panels.find((p) => p.id === id);
  const series = (panel?.series ?? []).map((s, d) => ({ ...s, hue: s.hue ?? d, dash: s.dash ?? 0 }));
  const kinds = [...new Set((panel?.rules ?? []).map((rule) => rule.label))];
  const rules = (panel?.rules ?? []).map((rule) => ({ ...rule, hue: null, dash: kinds.indexOf(rule.label) }));
  return { digits: 0, unit: "", ...panel, series, rules, bands: [] };
}

function curves() {
  $("curves").replaceChildren();
  for (const section of DATA.sections) {
    const ids = [
      ...new Set(DATA.runs.flatMap((r) => r.panels.filter((p) => p.section === section.id).map((p) => p.id))),
    ];
    const panels = ids
      .map(isMean() ? mean : merged)
      .filter((panel) => panel.series.some((s) => s.values.some((v) => !absent(v))));
    if (!panels.length) continue;
    const part = make($("curves"), "section"),
      title = `curves-${section.id}`;
    part.setAttribute("aria-labelledby", title);
    make(part, "h2", section.title, { id: title, tabindex: -1 });
    if (section.note) make(part, "p", section.note, { class: "note" });
    if (section.id === "kind") howTo(part);
    const grid = make(part, "div", null, { class: "grid" });
    for (const panel of panels) chart(grid, panel);
  }
}
