// --- one city: by pointer, by touch, by arrow keys, by name

function pick(key, pinned) {
  state.picked = key;
  state.pinned = pinned;
  picked();
  drawSoon();
}

function story(v, i) { // the city at the step that is shown
  const { cities, probe } = v, k = v.index[state.target] * cities.n + i;
  const lines = [`${cities.names[i]} (${v.run.regions[cities.region[i]].name}, id ${cities.ids[i]})`];
  lines.push(`true ${degrees(cities.lon[i] / 10, cities.lat[i] / 10)}`);
  if (!(probe.lon[k] > MISSING)) return [...lines, "no prediction at this step"];
  lines.push(`predicted ${degrees(probe.lon[k] / 10, probe.lat[k] / 10)}`);
  lines.push(`error ${whole(probe.error_km[k] === MISSING ? null : probe.error_km[k])} km`);
  return [...lines, ...moved(v, k)];
}

function moved(v, k) { // since the first step, along and across the way to the nearest virtual region
  const { radial_km: along, tangential_km: across } = v.probe;
  if (!along || along[k] === MISSING || across[k] === MISSING) return [];
  const virtual = v.run.regions.filter((region) => region.virtual);
  const name = virtual.length === 1 ? virtual[0].name : "the nearest new region";
  const way = along[k] < 0 ? "towards" : "away from";
  return [`moved ${whole(Math.abs(along[k]))} km ${way} ${name}, ${whole(Math.abs(across[k]))} km across`];
}

function picked() {
  const lines = views.map((v) => [v, v.cities.at.get(state.picked)]).filter(([, i]) => i !== undefined);
  $("picked").textContent = lines.map(([v, i]) => (views.length > 1 ? `${v.run.name}: ` : "") + story(v, i).join(" · ")).join("\n");
}

function candidates(v) { // the cities on the map and where the probe sees them, in the canvas's pixels: [i, x, y]
  const found = [];
  v.run.regions.forEach((region, k) => {
    if (state.only.size && !state.only.has(region.name)) return;
    for (const i of v.members[k]) {
      const to = place(v, i, state.position);
      if (to) found.push([i, px(v, to[0]), py(v, to[1])]);
    }
  });
  return found.filter(([, x, y]) => x >= 0 && x <= v.width && y >= 0 && y <= v.height);
}

function nearest(v, x, y, reach) {
  let best = null, distance = reach * reach;
  for (const city of candidates(v)) {
    const d = (city[1] - x) ** 2 + (city[2] - y) ** 2;
    if (d < distance) [best, distance] = [city, d];
  }
  return best;
}

function hover(event, v) {
  const found = nearest(v, event.offsetX, event.offsetY, event.pointerType === "touch" ? 26 : 14);
  tip(event.clientX, event.clientY, found && story(v, found[0]));
  const key = found && v.cities.keys[found[0]];
  if (event.type === "pointerdown") return pick(key, found !== null);
  if (!state.pinned && key !== state.picked) pick(key, false);
}

// The nearest city in the arrow's direction, within 45 degrees of it; the first press starts at the middle of the map.
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function walk(event, v) {
  if (event.key === "Escape") return tip(0, 0, null), pick(null, false);
  const arrow = ARROWS[event.key];
  if (!arrow) return;
  event.preventDefault();
  const cities = candidates(v), here = cities.find(([i]) => v.cities.keys[i] === state.picked);
  let best = here || nearest(v, v.width / 2, v.height / 2, v.width), distance = Infinity;
  for (const city of here ? cities : []) {
    const dx = city[1] - here[1], dy = city[2] - here[2];
    const along = dx * arrow[0] + dy * arrow[1], across = Math.abs(dx * arrow[1]) + Math.abs(dy * arrow[0]);
    if (along > 0 && across <= along && along + across < distance) [best, distance] = [city, along + across];
  }
  if (!best) return;
  pick(v.cities.keys[best[0]], true);
  const box = v.canvas.getBoundingClientRect();
  tip(box.left + best[1], box.top + best[2], story(v, best[0]));
}

function listen(v) {
  const leave = () => (tip(0, 0, null), state.pinned || pick(null, false));
  v.canvas.addEventListener("pointermove", (event) => hover(event, v));
  v.canvas.addEventListener("pointerdown", (event) => hover(event, v));
  v.canvas.addEventListener("pointerleave", leave);
  v.canvas.addEventListener("keydown", (event) => walk(event, v));
  v.canvas.addEventListener("blur", () => tip(0, 0, null));
}

function find() {
  const text = $("find").value.trim().toLocaleLowerCase();
  if (!text) return pick(null, false);
  const v = views[0], names = v.cities.names.map((name) => name.toLocaleLowerCase());
  const i = [(name) => name === text, (name) => name.startsWith(text), (name) => name.includes(text)]
    .map((fits) => names.findIndex(fits)).find((at) => at >= 0);
  if (i !== undefined && v.probe.held[i] !== "1") showCities("all");
  pick(i === undefined ? null : v.cities.keys[i], i !== undefined);
  if (i === undefined) $("picked").textContent = "No city of that name.";
}
