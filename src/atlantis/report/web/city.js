// --- one city: pointed at, touched, walked to, found by its name

const SPARK = { width: 260, height: 64, left: 42, bottom: 14 };
let pointed = null; // { v, i, x, y }: what the tip beside the pointer is about

/** @param {string | null} key @param {boolean} pinned */
function pick(key, pinned) {
  state.picked = key;
  state.pinned = pinned;
  picked();
  drawSoon();
  remember();
}

/** @param {View} v @param {number[] | null} city @param {number} x @param {number} y */
function point(v, city, x, y) {
  // city: [i, x, y] on the canvas; none takes the tip away
  pointed = city && { v, i: city[0], x, y };
  tip(x, y, city && story(v, city[0]));
}

/** @param {View} v @param {number} i */
function story(v, i) {
  // the city at the step that is shown
  const { cities, probe } = v,
    k = indexNow(v) * cities.n + i;
  const lines = [`${cities.names[i]} (${v.run.regions[cities.region[i]].name}, id ${cities.ids[i]})`];
  lines.push(`true ${degreesText(cities.lon[i] / 10, cities.lat[i] / 10)}`);
  if (!(probe.lon[k] > MISSING)) return [...lines, "no prediction at this step"];
  lines.push(`predicted ${degreesText(probe.lon[k] / 10, probe.lat[k] / 10)}`);
  lines.push(`error ${whole(errorAt(v, i, indexNow(v)))} km`);
  return [...lines, ...moved(v, k)];
}

/** @param {View} v @param {number} i @param {number} k */
function errorAt(v, i, k) {
  const km = v.probe.error_km[k * v.cities.n + i];
  return k < 0 || km === MISSING ? null : km;
}

/** @param {View} v @param {number} k */
function moved(v, k) {
  // since the first step, along and across the way to the nearest virtual region
  const { radial_km: along, tangential_km: across } = v.probe;
  if (!along || along[k] === MISSING || across[k] === MISSING) return [];
  const virtual = v.run.regions.filter((region) => region.virtual);
  const name = virtual.length === 1 ? virtual[0].name : "the nearest virtual region";
  const way = along[k] < 0 ? "towards" : "away from";
  return [`moved ${whole(Math.abs(along[k]))} km ${way} ${name}, ${whole(Math.abs(across[k]))} km across`];
}

/** @param {View} v @param {number} i @returns {[View, number]} */
const both = (v, i) => [v, i];

function picked() {
  // in words, and its error over the steps
  const box = $("picked"),
    found = views.filter((v) => v.cities.at.has(state.picked)).map((v) => both(v, v.cities.at.get(state.picked)));
  box.replaceChildren();
  found.forEach(([v, i], k) => {
    const name = views.length > 1 ? `${captionOf(v)}: ` : "";
    make(box, "span", `${k ? "\n" : ""}${name}${story(v, i).join(" · ")}`);
  });
  listNeighbours();
  $("spark").replaceChildren();
  if (found.length && timeline.length > 1) spark(found);
}

/** @param {[View, number][]} found */
function spark(found) {
  // one line a map: solid, dashed, ...
  const { width, height, left, bottom } = SPARK,
    errors = found.map(([v, i]) => timeline.map((_, k) => errorAt(v, i, v.index[k])));
  const high = Math.max(1, ...errors.flat()),
    x = (k) => left + ((width - left - 6) * k) / (timeline.length - 1);
  const y = (km) => 4 + (height - bottom - 6) * (1 - km / high),
    label = `Error of ${found[0][0].cities.names[found[0][1]]} over the checkpoints, up to ${whole(high)} km`;
  const svg = make($("spark"), "svg:svg", null, {
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": label,
  });
  make(svg, "svg:text", whole(high), { x: left - 4, y: 12, "text-anchor": "end" });
  make(svg, "svg:text", "0 km", { x: left - 4, y: height - bottom, "text-anchor": "end" });
  make(svg, "svg:text", "error, by checkpoint", { x: left, y: height - 1 });
  make(svg, "svg:line", null, { class: "now", x1: x(state.target), x2: x(state.target), y1: 2, y2: height - bottom });
  errors.forEach((values, k) => {
    const points = values.map((km, at) => (absent(km) ? "" : `${x(at).toFixed(1)},${y(km).toFixed(1)}`)).join(" ");
    make(svg, "svg:polyline", null, {
      points,
      fill: "none",
      stroke: "var(--ink)",
      "stroke-width": 1.4,
      "stroke-dasharray": DASHES[k % DASHES.length],
    });
  });
}

// --- which one is meant

/** @param {View} v @returns {[number, number, number][]} */
function candidates(v) {
  // the cities on the map and where the probe sees them, in the canvas's pixels: [i, x, y]
  const found = [];
  v.run.regions.forEach((region, k) => {
    if (!isShown(region)) return;
    for (const i of v.members[k]) {
      const to = place(v, i, position(v));
      if (to && isSeen(...to) && isChosen(v, i)) found.push([i, ...spot(v, ...to)]);
    }
  });
  return found.filter(([, x, y]) => x >= 0 && x <= v.width && y >= 0 && y <= v.height);
}

/** @param {View} v @param {number} x @param {number} y @param {number} reach */
function nearest(v, x, y, reach) {
  let best = null,
    distance = reach * reach;
  for (const city of candidates(v)) {
    const d = (city[1] - x) ** 2 + (city[2] - y) ** 2;
    if (d < distance) [best, distance] = [city, d];
  }
  return best;
}

/** @param {PointerEvent} event @param {View} v @param {boolean} isPress */
function hover(event, v, isPress) {
  const city = nearest(v, event.offsetX, event.offsetY, event.pointerType === "touch" ? 26 : 14);
  point(v, city, event.clientX, event.clientY);
  const key = city && v.cities.keys[city[0]];
  if (isPress) return pick(key, city !== null);
  if (!state.pinned && key !== state.picked) pick(key, false);
}

// The nearest city in the arrow's direction, within 45 degrees of it; the first press starts at the middle of the map.
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** @param {View} v @param {number[]} arrow */
function walk(v, arrow) {
  const cities = candidates(v),
    here = cities.find(([i]) => v.cities.keys[i] === state.picked);
  let best = here || nearest(v, v.width / 2, v.height / 2, v.width),
    distance = Infinity;
  for (const city of here ? cities : []) {
    const dx = city[1] - here[1],
      dy = city[2] - here[2];
    const along = dx * arrow[0] + dy * arrow[1],
      across = Math.abs(dx * arrow[1]) + Math.abs(dy * arrow[0]);
    if (along > 0 && across <= along && along + across < distance) [best, distance] = [city, along + across];
  }
  if (!best) return;
  pick(v.cities.keys[best[0]], true);
  const box = v.canvas.getBoundingClientRect();
  point(v, best, box.left + best[1], box.top + best[2]);
}

// --- by name, in every run on the maps, whatever its accents

const LETTERS = { ø: "o", ł: "l", đ: "d", ð: "d", ı: "i", ß: "ss", æ: "ae", œ: "oe", þ: "th", "’": "'", ʻ: "'" };
const MOST = 40; // names that are listed

/** @param {string} text */
function plain(text) {
  return text
    .normalize("NFD")
    .replace(/\p{M}/gu, "")
    .toLocaleLowerCase("en")
    .replace(/[øłđðıßæœþ’ʻ]/g, (letter) => LETTERS[letter])
    .trim();
}

/** @param {string} text */
function matches(text) {
  // [key, where it is], the best first: the same name, one that begins so, one that has it in it
  const found = new Map(),
    wanted = plain(text);
  for (const v of views) {
    v.cities.plain ??= v.cities.names.map(plain);
    v.cities.plain.forEach((name, i) => {
      const rank = name === wanted ? 0 : name.startsWith(wanted) ? 1 : name.includes(wanted) ? 2 : 3,
        key = v.cities.keys[i];
      const where = `${v.cities.names[i]}, ${v.run.regions[v.cities.region[i]].name}, id ${v.cities.ids[i]}`;
      if (rank < 3 && !found.has(key)) found.set(key, [rank, key, where]);
    });
  }
  return [...found.values()].sort((a, b) => a[0] - b[0]).map(([, ...match]) => match);
}

function find() {
  const text = $("find").value,
    found = plain(text) ? matches(text) : [];
  $("found").replaceChildren();
  if (!plain(text)) return pick(null, false);
  if (found.length > 1) {
    for (const [key, where] of found.slice(0, MOST)) {
      make($("found"), "button", where, { type: "button" }).addEventListener("click", () => show(key));
    }
    if (found.length > MOST) make($("found"), "span", `and ${whole(found.length - MOST)} more`);
  }
  if (found.length) return show(found[0][0]);
  pick(null, false);
  const where = views.some((v) => v.run.thinned) ? " on the maps" : "";
  $("picked").textContent = `No city of that name${where}.`;
}

/** @param {string} key */
function show(key) {
  // a city that the probe was fitted on is drawn only among all
  const isHidden = (v) => v.cities.at.has(key) && v.probe.held[v.cities.at.get(key)] !== "1";
  if (views.some(isHidden)) showCities("all");
  pick(key, true);
}
