// --- the map: one canvas for the chosen run, or one for each run beside each other, all at the same step

const extent = { west: -180, east: 180, south: -60, north: 85 };
let views = [];
let timeline = []; // every probed step of the runs on the map

const px = (v, lon10) => ((lon10 / 10 - extent.west) / (extent.east - extent.west)) * v.width;
const py = (v, lat10) => ((extent.north - lat10 / 10) / (extent.north - extent.south)) * v.height;
const beside = () => several && $("beside").checked;
const onMap = () => (beside() ? DATA.runs : [run()]);

function makeViews() {
  const found = onMap().filter((r) => r.probes[state.protocol]);
  timeline = [...new Set(found.flatMap((r) => r.probes[state.protocol].steps))].sort((a, b) => a - b);
  $("maps").replaceChildren();
  $("maps").classList.toggle("beside", found.length > 1);
  views = found.map((r) => {
    const probe = r.probes[state.protocol], figure = make($("maps"), "figure", null, { class: "frame" });
    const label = `Map of ${r.name}. Arrow keys go from city to city, Escape lets go.`;
    const canvas = make(figure, "canvas", null, { role: "img", tabindex: 0, "aria-label": label, "aria-describedby": "picked" });
    const numbers = make(figure, "figcaption", null, { class: "numbers" });
    const index = timeline.map((step) => probe.steps.filter((s) => s <= step).length - 1); // the last checkpoint so far
    const v = { run: r, probe, cities: r.cities, index, canvas, numbers, base: document.createElement("canvas"), width: 0, height: 0 };
    listen(v);
    return v;
  });
  members();
  fit();
}

function members() { // which cities to draw, by region
  const all = $("cities").value === "all";
  for (const v of views) {
    v.members = v.run.regions.map(() => []);
    for (let i = 0; i < v.cities.n; i++) if (all || v.probe.held[i] === "1") v.members[v.cities.region[i]].push(i);
  }
}

function fit() { // what part of the globe is seen: the inhabited world and every prediction, or one region
  Object.assign(extent, { west: -180, east: 180, south: -60, north: 85 });
  const wanted = $("look").value;
  if (wanted === "") {
    for (const { cities, probe } of views) {
      for (const values of [cities.lat, probe.lat]) {
        for (const value of values) {
          if (value !== MISSING && value / 10 < extent.south + 2) extent.south = Math.max(-90, value / 10 - 2);
          if (value / 10 > extent.north - 2) extent.north = Math.min(90, value / 10 + 2);
        }
      }
    }
  } else fitRegion(wanted);
  resize();
}

function fitRegion(name) { // around the median city, wide enough for nine in ten, in the world map's shape
  const { cities, regions } = views[0].run, k = regions.findIndex((region) => region.name === name);
  const inside = [...cities.ids.keys()].filter((i) => cities.region[i] === k);
  const middle = (values) => values.sort((a, b) => a - b)[values.length >> 1];
  const lon = middle(inside.map((i) => cities.lon[i] / 10)), lat = middle(inside.map((i) => cities.lat[i] / 10));
  const away = inside.map((i) => Math.max(Math.abs(cities.lon[i] / 10 - lon), 2.2 * Math.abs(cities.lat[i] / 10 - lat)));
  const half = Math.min(90, 1.5 * Math.max(8, away.sort((a, b) => a - b)[Math.floor(0.9 * away.length)]));
  const west = Math.max(-180, Math.min(180 - 2 * half, lon - half)), tall = half / 2.2;
  const south = Math.max(-90, Math.min(90 - 2 * tall, lat - tall));
  Object.assign(extent, { west, east: west + 2 * half, south, north: south + 2 * tall });
}

function resize() {
  const scale = window.devicePixelRatio || 1;
  for (const v of views) {
    v.width = v.canvas.parentElement.clientWidth;
    v.height = Math.round((v.width * (extent.north - extent.south)) / (extent.east - extent.west));
    for (const canvas of [v.canvas, v.base]) {
      canvas.width = Math.round(v.width * scale);
      canvas.height = Math.round(v.height * scale);
      canvas.getContext("2d").setTransform(scale, 0, 0, scale, 0, 0);
    }
    drawBase(v);
  }
  draw();
}

const radius = (v) => Math.max(1.5, v.width / 460) * (extent.east - extent.west < 180 ? 1.6 : 1);

// Where the probe puts city i, in tenths of a degree, as [lon, lat]; null where it says nothing.
function place(v, i, position) {
  const k = Math.floor(position), share = position - k, n = v.cities.n, { lon, lat } = v.probe;
  const a = v.index[k] * n + i, b = share ? v.index[k + 1] * n + i : a;
  if (a < 0 || lon[a] === MISSING || lon[b] === MISSING) return null;
  let turn = lon[b] - lon[a];
  if (turn > 1800) turn -= 3600;
  if (turn < -1800) turn += 3600;
  let x = lon[a] + share * turn;
  if (x > 1800) x -= 3600;
  if (x < -1800) x += 3600;
  return [x, lat[a] + share * (lat[b] - lat[a])];
}

function drawBase(v) { // what no step changes: sea, land, coast, true places
  const pen = v.base.getContext("2d"), r = radius(v), { cities } = v;
  pen.fillStyle = css("--sea");
  pen.fillRect(0, 0, v.width, v.height);
  pen.beginPath();
  for (const ring of DATA.land) {
    for (let i = 0; i < ring.length; i += 2) pen[i ? "lineTo" : "moveTo"](px(v, ring[i]), py(v, ring[i + 1]));
    pen.closePath();
  }
  pen.fillStyle = css("--land");
  pen.fill("evenodd");
  pen.beginPath();
  for (const ring of DATA.land) {
    for (let i = 2; i < ring.length; i += 2) {
      const seam = Math.abs(ring[i]) === 1800 && Math.abs(ring[i - 2]) === 1800;
      if (seam || (ring[i + 1] === -900 && ring[i - 1] === -900)) continue;
      pen.moveTo(px(v, ring[i - 2]), py(v, ring[i - 1]));
      pen.lineTo(px(v, ring[i]), py(v, ring[i + 1]));
    }
  }
  pen.strokeStyle = css("--coast");
  pen.lineWidth = 0.6;
  pen.stroke();
  pen.fillStyle = css("--true");
  v.run.regions.forEach((region, k) => {
    pen.beginPath();
    const [mark, size] = region.virtual ? [star, r * 1.7] : [dot, r * 0.6];
    for (const i of v.members[k]) mark(pen, px(v, cities.lon[i]), py(v, cities.lat[i]), size);
    pen.fill();
  });
}

function dot(pen, x, y, r) {
  pen.moveTo(x + r, y);
  pen.arc(x, y, r, 0, 2 * Math.PI);
}

function star(pen, x, y, r) {
  starPoints(r).forEach(([dx, dy], k) => pen[k ? "lineTo" : "moveTo"](x + dx, y + dy));
  pen.closePath();
}

function line(pen, v, a, b) { // the short way round; left out where it would cross the whole map
  if (Math.abs(b[0] - a[0]) > 1800) return;
  pen.moveTo(px(v, a[0]), py(v, a[1]));
  pen.lineTo(px(v, b[0]), py(v, b[1]));
}

function draw() {
  for (const v of views) {
    if (!v.width) continue;
    const pen = v.canvas.getContext("2d"), r = radius(v);
    pen.drawImage(v.base, 0, 0, v.width, v.height);
    v.run.regions.forEach((region, k) => drawRegion(pen, v, region, v.members[k], r));
    const i = v.cities.at.get(state.picked);
    if (i !== undefined) drawPicked(pen, v, i, r);
  }
}

let waiting = false;
function drawSoon() { // once a frame, however often the pointer moves
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => ((waiting = false), draw()));
}

function drawRegion(pen, v, region, cities, r) {
  pen.globalAlpha = state.only.size === 0 || state.only.has(region.name) ? 0.85 : 0.07;
  pen.fillStyle = pen.strokeStyle = tint(region.colour);
  const places = cities.map((i) => place(v, i, state.position));
  if ($("lines").checked) {
    pen.beginPath();
    places.forEach((to, j) => to && line(pen, v, [v.cities.lon[cities[j]], v.cities.lat[cities[j]]], to));
    pen.lineWidth = 0.5;
    pen.stroke();
  }
  pen.beginPath();
  const [mark, size] = region.virtual ? [star, r * 2.6] : [dot, r];
  for (const to of places) if (to) mark(pen, px(v, to[0]), py(v, to[1]), size);
  pen.fill();
  if (region.virtual) {
    pen.strokeStyle = css("--ink"); // an outline tells a star from the dots around it where colours do not
    pen.lineWidth = r * 0.25;
    pen.stroke();
  }
  pen.globalAlpha = 1;
}

function drawPicked(pen, v, i, r) { // the city's true place, its way through the checkpoints, where it is now
  pen.strokeStyle = css("--ink");
  pen.lineWidth = 1;
  pen.setLineDash([3, 3]);
  pen.beginPath();
  for (let k = 1; k < timeline.length; k++) {
    const a = place(v, i, k - 1), b = place(v, i, k);
    if (a && b) line(pen, v, a, b);
  }
  pen.stroke();
  pen.setLineDash([]);
  pen.lineWidth = 1.6;
  pen.beginPath();
  const from = [v.cities.lon[i], v.cities.lat[i]], to = place(v, i, state.position);
  pen.rect(px(v, from[0]) - 2 * r, py(v, from[1]) - 2 * r, 4 * r, 4 * r);
  if (to) {
    line(pen, v, from, to);
    dot(pen, px(v, to[0]), py(v, to[1]), 2.6 * r);
  }
  pen.stroke();
}

// --- the step: slider, play, one transition

function go(position, smoothly = true) {
  state.target = Math.max(0, Math.min(timeline.length - 1, position));
  cancelAnimationFrame(state.frame);
  describe();
  if (!smoothly || still.matches) {
    state.position = state.target;
    return draw();
  }
  const from = state.position, to = state.target, begun = performance.now();
  const tick = (now) => {
    const share = Math.min(1, Math.max(0, (now - begun) / 350));
    state.position = share === 1 ? to : from + (to - from) * share;
    draw();
    if (share < 1) state.frame = requestAnimationFrame(tick);
  };
  state.frame = requestAnimationFrame(tick);
}

function play() {
  if (state.timer) return stop();
  $("play").textContent = "Pause";
  if (state.target === timeline.length - 1) go(0, false);
  state.timer = setInterval(() => {
    if (state.target < timeline.length - 1) go(state.target + 1);
    if (state.target >= timeline.length - 1) stop();
  }, 800);
}

function stop() {
  clearInterval(state.timer);
  state.timer = 0;
  $("play").textContent = "Play";
}
