// --- drawing the maps: the pen is a canvas's or one that writes SVG

const ARROW_KM = [500, 1500, 4000, Infinity]; // classes of length, short to long
const ARROW_HUES = {
  light: ["#440154", "#31688e", "#b8860b", "#c1121f"],
  dark: ["#b49bd6", "#56b4e9", "#fde725", "#ff8a80"],
};

let isMoving = false; // between two steps, where dots are drawn without their outlines: those take half of the time

/** @param {View} v */
const radius = (v) => Math.max(1.5, v.width / 460) * Math.min(2.2, Math.sqrt(camera.home.span / camera.span) ** 0.7);

function drawAll() {
  for (const v of views) {
    v.canvas.classList.toggle("zoomed", canBeMoved());
    drawBase(v.base.getContext("2d"), v);
  }
  draw();
}

function draw() {
  for (const v of views) {
    if (!v.width) continue;
    const pen = v.canvas.getContext("2d");
    pen.drawImage(v.base, 0, 0, v.width, v.height);
    drawCities(pen, v);
    drawOutline(pen, v);
  }
}

let waiting = "";
/** @param {boolean} [all] */
function drawSoon(all = false) {
  // once a frame, however often the pointer moves
  if (!waiting) {
    requestAnimationFrame(() => {
      const isAll = waiting === "all";
      waiting = "";
      (isAll ? drawAll : draw)();
    });
  }
  waiting = all || waiting === "all" ? "all" : "cities";
}

/** @param {Pen} pen @param {View} v */
function drawBase(pen, v) {
  // what no step changes: sea, land, coast, rings of distance, true places
  const r = radius(v),
    { cities } = v;
  pen.fillStyle = css(camera.kind === "flat" ? "--sea" : "--paper");
  pen.fillRect(0, 0, v.width, v.height);
  pen.beginPath();
  if (camera.kind !== "flat") {
    disk(pen, v);
    pen.fillStyle = css("--sea");
    pen.fill();
    pen.beginPath();
  }
  landPath(pen, v);
  pen.fillStyle = css("--land");
  pen.fill("evenodd");
  pen.beginPath();
  coastPath(pen, v);
  pen.strokeStyle = css("--coast");
  pen.lineWidth = 0.6;
  pen.stroke();
  if (camera.kind === "around") drawRings(pen, v);
  pen.fillStyle = css("--true");
  v.run.regions.forEach((region, k) => {
    pen.beginPath();
    const [mark, size] = region.virtual ? [star, r * 1.7] : [dot, r * 0.6];
    for (const i of v.members[k]) {
      const [lon, lat] = [cities.lon[i], cities.lat[i]];
      if (isSeen(lon, lat)) mark(pen, ...spot(v, lon, lat), size);
    }
    pen.fill();
  });
}

/** @param {Pen} pen @param {View} v */
function drawRings(pen, v) {
  // every 2,000 km from the centre
  const [x, y] = onScreen(v, [0, 0]);
  pen.strokeStyle = css("--muted");
  pen.lineWidth = 0.7;
  for (let km = RING_KM; km <= 180 * KM_PER_DEGREE; km += RING_KM) {
    const r = (km / KM_PER_DEGREE / camera.span) * v.width;
    pen.beginPath();
    pen.moveTo(x + r, y);
    pen.arc(x, y, r, 0, 2 * Math.PI);
    pen.globalAlpha = 0.55;
    pen.stroke();
    pen.globalAlpha = 1;
  }
}

/** @param {Pen} pen @param {View} v */
function nameRings(pen, v) {
  // above the cities, on a piece of paper each
  const [x, y] = onScreen(v, [0, 0]);
  pen.font = "11px system-ui, sans-serif";
  for (let km = RING_KM; km <= 180 * KM_PER_DEGREE; km += RING_KM) {
    const top = y - (km / KM_PER_DEGREE / camera.span) * v.width,
      text = `${whole(km)} km`;
    if (top < -12) continue;
    pen.fillStyle = css("--paper");
    pen.globalAlpha = 0.75;
    pen.fillRect(x + 1, top + 1, 6.3 * text.length, 13);
    pen.globalAlpha = 1;
    pen.fillStyle = css("--ink");
    pen.fillText(text, x + 3, top + 11);
  }
}

/** @param {Pen} pen @param {number} x @param {number} y @param {number} r */
function dot(pen, x, y, r) {
  pen.moveTo(x + r, y);
  pen.arc(x, y, r, 0, 2 * Math.PI);
}

/** @param {Pen} pen @param {number} x @param {number} y @param {number} r */
function star(pen, x, y, r) {
  starPoints(r).forEach(([dx, dy], k) => pen[k ? "lineTo" : "moveTo"](x + dx, y + dy));
  pen.closePath();
}

/** @param {Pen} pen @param {View} v @param {Place} a @param {Place} b */
function line(pen, v, a, b) {
  // the short way round; left out where it would cross the whole map
  const from = project(...a),
    to = project(...b);
  if (Math.hypot(to[0] - from[0], to[1] - from[1]) > 180 || !isSeen(...a) || !isSeen(...b)) return;
  pen.moveTo(...onScreen(v, from));
  pen.lineTo(...onScreen(v, to));
}

/** @param {Region} region */
const isShown = (region) => state.only.size === 0 || state.only.has(region.name);

/** @param {Pen} pen @param {View} v */
function drawCities(pen, v) {
  const r = radius(v);
  if ($("lines").value) drawArrows(pen, v, r);
  v.run.regions.forEach((region, k) => drawRegion(pen, v, region, v.members[k], r));
  const i = v.cities.at.get(state.picked);
  if (camera.kind === "around") nameRings(pen, v);
  if (i === undefined) return;
  drawNeighbours(pen, v, i, r);
  drawPicked(pen, v, i, r);
}

/** @param {Pen} pen @param {View} v @param {Region} region @param {number[]} cities @param {number} r */
function drawRegion(pen, v, region, cities, r) {
  // what is not chosen is faint, and lies below
  const isStrong = (i) => isShown(region) && isChosen(v, i),
    faint = cities.filter((i) => !isStrong(i));
  for (const part of [faint, faint.length ? cities.filter(isStrong) : cities]) {
    if (!part.length) continue;
    pen.globalAlpha = part === faint ? 0.07 : 1;
    for (const [colour, group] of groupsOf(v, region, part)) drawGroup(pen, v, colour, group, region.virtual, r);
  }
  pen.globalAlpha = 1;
}

/** @param {Pen} pen @param {View} v @param {string} colour @param {number[]} cities @param {boolean} virtual
 * @param {number} r */
function drawGroup(pen, v, colour, cities, virtual, r) {
  pen.fillStyle = tint(colour);
  pen.beginPath();
  const [mark, size] = virtual ? [star, r * 2.6] : [dot, r];
  for (const i of cities) {
    const to = place(v, i, position(v));
    if (to && isSeen(...to)) mark(pen, ...spot(v, ...to), size);
  }
  // An outline tells a star from the dots around it where colours do not, and a light dot from the land.
  pen.strokeStyle = virtual ? css("--ink") : edge(colour);
  pen.lineWidth = r * (virtual ? 0.25 : 0.4);
  pen.fill();
  if (!isMoving || virtual) pen.stroke();
}

/** @param {View} v @param {number} i @returns {Place | null} */
function arrowFrom(v, i) {
  // the true place, or where the city was at another step, or where the first map has it
  if ($("lines").value === "true") return truePlace(v, i);
  if ($("lines").value === "base") return place(v, i, state.base);
  const there = views[0].cities.at.get(v.cities.keys[i]);
  return there === undefined ? null : place(views[0], there, position(views[0]));
}

/** @param {Pen} pen @param {View} v @param {number} r */
function drawArrows(pen, v, r) {
  // coloured by length
  const classes = ARROW_KM.map(() => []);
  v.run.regions.forEach((region, k) => {
    if (!isShown(region)) return;
    for (const i of v.members[k].filter((city) => isChosen(v, city))) {
      const from = arrowFrom(v, i),
        to = place(v, i, position(v));
      if (from && to) classes[ARROW_KM.findIndex((km) => kilometres(from, to) <= km)].push([from, to]);
    }
  });
  const hues = ARROW_HUES[dark.matches && !printing ? "dark" : "light"];
  classes.forEach((arrows, k) => {
    pen.beginPath();
    for (const [from, to] of arrows) arrow(pen, v, from, to, r);
    pen.strokeStyle = hues[k];
    pen.lineWidth = 0.7;
    pen.stroke();
  });
}

/** @param {Pen} pen @param {View} v @param {Place} from @param {Place} to @param {number} r */
function arrow(pen, v, from, to, r) {
  line(pen, v, from, to);
  if (!isSeen(...from) || !isSeen(...to)) return;
  const a = spot(v, ...from),
    b = spot(v, ...to),
    length = Math.hypot(b[0] - a[0], b[1] - a[1]);
  if (length < 4 * r || length > v.width / 2) return;
  const turn = Math.atan2(b[1] - a[1], b[0] - a[0]);
  for (const spread of [2.7, -2.7]) {
    pen.moveTo(...b);
    pen.lineTo(b[0] + 3 * r * Math.cos(turn + spread), b[1] + 3 * r * Math.sin(turn + spread));
  }
}

/** @param {Pen} pen @param {View} v @param {number} i @param {number} r */
function drawPicked(pen, v, i, r) {
  // the city's true place, its way through the checkpoints, where it is now
  pen.strokeStyle = css("--ink");
  pen.lineWidth = 1;
  pen.setLineDash([3, 3]);
  pen.beginPath();
  for (let k = 1; k < timeline.length; k++) {
    const a = place(v, i, k - 1),
      b = place(v, i, k);
    if (a && b) line(pen, v, a, b);
  }
  pen.stroke();
  pen.setLineDash([]);
  pen.lineWidth = 1.6;
  pen.beginPath();
  const from = truePlace(v, i),
    to = place(v, i, position(v)),
    [x, y] = spot(v, ...from);
  if (isSeen(...from)) pen.rect(x - 2 * r, y - 2 * r, 4 * r, 4 * r);
  if (to) line(pen, v, from, to);
  if (to && isSeen(...to)) dot(pen, ...spot(v, ...to), 2.6 * r);
  pen.stroke();
}
