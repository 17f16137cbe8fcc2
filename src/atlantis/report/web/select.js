// --- some of the cities: those inside an outline drawn on a map, or in view. They are the table's, and stand out.

const CORNERS = { gap: 5, most: 80, fewest: 3 }; // of an outline; pixels from one to the next
/** @type {{ v: View; corners: number[][] } | null} */
let outline = null; // { v, corners }: what is being drawn, in the canvas's pixels

/** @param {View} v @param {number} i */
const isChosen = (v, i) => !state.chosen || state.chosen.has(v.cities.keys[i]);

/** @param {PointerEvent} event @param {View} v */
function beginOutline(event, v) {
  outline = { v, corners: [[event.offsetX, event.offsetY]] };
  v.canvas.setPointerCapture(event.pointerId);
  point(v, null, 0, 0);
}

/** @param {PointerEvent} event @param {View} v */
function goOnWithOutline(event, v) {
  const last = outline.corners.at(-1),
    now = [event.offsetX, event.offsetY];
  if (v !== outline.v || Math.hypot(now[0] - last[0], now[1] - last[1]) < CORNERS.gap) return;
  outline.corners.push(now);
  drawSoon();
}

function endOutline() {
  const { v, corners } = outline;
  letOutlineGo();
  const every = Math.ceil(corners.length / CORNERS.most);
  const kept = corners.filter((_, k) => k % every === 0);
  if (kept.length >= CORNERS.fewest) chooseInside(v, kept);
}

function letOutlineGo() {
  outline = null;
  setOutlining(false);
  drawSoon();
}

/** @param {boolean} isOn */
function setOutlining(isOn) {
  state.isOutlining = isOn;
  $("outline").setAttribute("aria-pressed", String(isOn));
  $("maps").classList.toggle("outlining", isOn);
}

/** @param {Pen} pen @param {View} v */
function drawOutline(pen, v) {
  if (outline?.v !== v) return;
  pen.beginPath();
  outline.corners.forEach((corner, k) => pen[k ? "lineTo" : "moveTo"](...corner));
  pen.closePath();
  pen.strokeStyle = css("--ink");
  pen.lineWidth = 1.2;
  pen.setLineDash([4, 3]);
  pen.stroke();
  pen.setLineDash([]);
}

/** @param {View} v @param {number[][]} corners */
function chooseInside(v, corners) {
  // by where the map's probe sees the cities at its step, so that the address leads to the same ones
  const unit = camera.span / v.width;
  const ring = corners.flatMap(([x, y]) => [(x - v.width / 2) * unit + camera.x, (y - v.height / 2) * unit + camera.y]);
  const step = timeline[v.isFixed ? state.base : state.target];
  const { kind, lon, lat } = camera;
  setArea({ run: DATA.runs.indexOf(v.run), probe: v.probe.name, step, kind, lon, lat, ring });
}

function chooseInView() {
  const v = views[0];
  if (v)
    chooseInside(v, [
      [0, 0],
      [v.width, 0],
      [v.width, v.height],
      [0, v.height],
    ]);
}

/** @param {Area | null} area */
function setArea(area) {
  // null: all cities again
  state.area = area;
  state.chosen = area && keysInside(area);
  const n = state.chosen?.size;
  $("n-chosen").textContent = area ? `${whole(n)} ${n === 1 ? "city" : "cities"} chosen` : "";
  for (const id of ["to-table", "everything"]) $(id).hidden = !area;
  draw();
  cityTable(timeline[state.target] ?? 0);
  remember();
}

/** @param {Area} given */
function keysInside({ run: k, probe: name, step, kind, lon, lat, ring }) {
  const r = DATA.runs[k],
    probe = r.probes[name],
    v = { cities: r.cities, probe, index: [latest(probe.steps, step)] };
  const keys = new Set(),
    now = { ...camera };
  Object.assign(camera, { kind, lon, lat }); // those through which it was drawn
  for (let i = 0; i < r.cities.n; i++) {
    const isDrawn = $("cities").value === "all" || probe.held[i] === "1",
      to = isDrawn && isShown(r.regions[r.cities.region[i]]) && place(v, i, 0);
    if (to && isSeen(...to) && isInside(ring, ...project(...to))) keys.add(r.cities.keys[i]);
  }
  Object.assign(camera, now);
  return keys;
}

// --- in the address

/** @param {Area} given */
const areaText = ({ run: k, probe, step, kind, lon, lat, ring }) =>
  JSON.stringify([k, probe, step, kind, ...[lon, lat, ...ring].map((x) => Number(x.toFixed(2)))]);

/** @param {string | null} text */
function areaOf(text) {
  // null for what is none on this page
  let parts;
  try {
    parts = JSON.parse(text);
  } catch {
    return null;
  }
  if (!Array.isArray(parts)) return null;
  const [k, probe, step, kind, lon, lat, ...ring] = parts;
  const isHere = Number.isInteger(k) && DATA.runs[k] && Object.hasOwn(DATA.runs[k].probes, probe);
  const isOne = isHere && Object.hasOwn(EDGE, kind) && [step, lon, lat, ...ring].every(Number.isFinite);
  const isLine = ring.length >= 2 * CORNERS.fewest && ring.length % 2 === 0;
  return isOne && isLine ? { run: k, probe, step, kind, lon, lat, ring } : null;
}
