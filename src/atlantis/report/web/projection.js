// --- from a place on the globe to the plane, and from the plane to a canvas
//
// The plane is in degrees, y down. Flat: longitude and latitude as they are. Around: distance and direction from a
// centre (azimuthal equidistant), so that lengths from the centre can be read. Globe: as from far away (orthographic);
// what is behind it lies on its edge, and is not drawn. All maps share one camera.

const RING_KM = 2000;
const CLOSEST = 80; // the camera comes so many times nearer than the whole
const EDGE = { flat: 0, around: 180, globe: 90 }; // the radius of what is round, in the plane
const camera = {
  kind: "flat",
  lon: 0,
  lat: 0,
  x: 0,
  y: 0,
  span: 360,
  home: { x: 0, y: 0, span: 360, aspect: 145 / 360 },
};

/** @param {number} lon10 @param {number} lat10 @returns {Place} */
function project(lon10, lat10) {
  if (camera.kind === "flat") return [lon10 / 10, -lat10 / 10];
  const radians = Math.PI / 1800,
    turn = lon10 * radians - (camera.lon * Math.PI) / 180;
  const lat = lat10 * radians,
    from = (camera.lat * Math.PI) / 180;
  const east = Math.cos(lat) * Math.sin(turn);
  const north = Math.cos(from) * Math.sin(lat) - Math.sin(from) * Math.cos(lat) * Math.cos(turn);
  const near = Math.sin(from) * Math.sin(lat) + Math.cos(from) * Math.cos(lat) * Math.cos(turn);
  const sine = Math.hypot(east, north),
    arc = (Math.atan2(sine, near) * 180) / Math.PI;
  const away = camera.kind === "around" ? arc : near > 0 ? EDGE.globe * sine : EDGE.globe;
  return sine < 1e-12 ? [0, arc > 90 ? -EDGE[camera.kind] : 0] : [(away * east) / sine, (-away * north) / sine];
}

/** @param {number} lon10 @param {number} lat10 */
function isSeen(lon10, lat10) {
  // not behind the globe
  if (camera.kind !== "globe") return true;
  const [lat, from] = [(lat10 * Math.PI) / 1800, (camera.lat * Math.PI) / 180];
  const turn = ((lon10 / 10 - camera.lon) * Math.PI) / 180;
  return Math.sin(from) * Math.sin(lat) + Math.cos(from) * Math.cos(lat) * Math.cos(turn) > 0;
}

/** @param {View} v @param {Place} given @returns {Place} */
const onScreen = (v, [x, y]) => [
  ((x - camera.x) * v.width) / camera.span + v.width / 2,
  ((y - camera.y) * v.width) / camera.span + v.height / 2,
];
/** @param {View} v @param {number} lon10 @param {number} lat10 @returns {Place} */
const spot = (v, lon10, lat10) => onScreen(v, project(lon10, lat10));

function lookHome() {
  Object.assign(camera, { x: camera.home.x, y: camera.home.y, span: camera.home.span });
}

/** @param {number} span */
const within = (span) => Math.max(camera.home.span / CLOSEST, Math.min(camera.home.span, span));

function hold() {
  // the camera stays inside the whole, and above the middle of a globe
  const { home } = camera;
  camera.span = within(camera.span);
  if (camera.kind === "globe") Object.assign(camera, { x: 0, y: 0, lat: Math.max(-90, Math.min(90, camera.lat)) });
  const room = (home.span - camera.span) / 2;
  camera.x = Math.max(home.x - room, Math.min(home.x + room, camera.x));
  camera.y = Math.max(home.y - room * home.aspect, Math.min(home.y + room * home.aspect, camera.y));
}

const isZoomed = () => camera.span < camera.home.span * 0.999;

function wholeFlat() {
  // the inhabited world and every prediction
  let south = -60,
    north = 85;
  for (const { cities, probe } of views) {
    for (const values of [cities.lat, probe.lat]) {
      for (const value of values) {
        if (value !== MISSING && value / 10 < south + 2) south = Math.max(-90, value / 10 - 2);
        if (value / 10 > north - 2) north = Math.min(90, value / 10 + 2);
      }
    }
  }
  camera.home = { x: 0, y: -(north + south) / 2, span: 360, aspect: (north - south) / 360 };
}

/** @param {{ lon: number; lat: number }} given */
function wholeRound({ lon, lat }) {
  Object.assign(camera, { lon, lat, home: { x: 0, y: 0, span: 2.03 * EDGE[camera.kind], aspect: 1 } });
}

// --- the land on it

const DETAIL = 3; // so many times nearer than the whole, the finer coast is drawn
/** @type {Map<ArrayLike<number>, number[]>} */
const boxes = new Map(); // west, east, south, north of each ring, in tenths of a degree

/** @param {ArrayLike<number>} ring */
function boxOf(ring) {
  if (!boxes.has(ring)) {
    const all = Array.from(ring),
      [lon, lat] = [0, 1].map((side) => all.filter((_, i) => i % 2 === side));
    boxes.set(ring, [Math.min(...lon), Math.max(...lon), Math.min(...lat), Math.max(...lat)]);
  }
  return boxes.get(ring);
}

/** @param {ArrayLike<number>} ring */
function isRingSeen(ring) {
  // some of its corners are before the globe
  for (let i = 0; i < ring.length; i += 2) if (isSeen(ring[i], ring[i + 1])) return true;
  return false;
}

/** @param {View} v */
function landNow(v) {
  // as fine as the camera is near; of a flat map what meets the window, of a globe what is before it
  const rings = camera.span < camera.home.span / DETAIL ? fineLand : DATA.land;
  if (camera.kind === "globe") return rings.filter(isRingSeen);
  if (camera.kind === "around") return rings;
  const [wide, high] = [5 * camera.span, (5 * camera.span * v.height) / v.width];
  return rings.filter((ring) => {
    const [west, east, south, north] = boxOf(ring);
    const isBeside = east < 10 * camera.x - wide || west > 10 * camera.x + wide;
    return !isBeside && north > -10 * camera.y - high && south < -10 * camera.y + high;
  });
}

/** @param {ArrayLike<number>} ring @param {number} lon10 @param {number} lat10 */
function isInside(ring, lon10, lat10) {
  // even or odd, on the flat map, where every ring is whole
  let odd = false;
  for (let i = 0, j = ring.length - 2; i < ring.length; j = i, i += 2) {
    if (ring[i + 1] > lat10 !== ring[j + 1] > lat10) {
      const meets = ring[i] + ((lat10 - ring[i + 1]) / (ring[j + 1] - ring[i + 1])) * (ring[j] - ring[i]);
      if (meets > lon10) odd = !odd;
    }
  }
  return odd;
}

/** @param {Pen} pen @param {View} v */
function disk(pen, v) {
  // all of the globe that is seen around a centre
  const [x, y] = onScreen(v, [0, 0]),
    r = (EDGE[camera.kind] * v.width) / camera.span;
  pen.moveTo(x + r, y);
  pen.arc(x, y, r, 0, 2 * Math.PI);
}

/** @param {Pen} pen @param {View} v @param {Place} a @param {Place} b @param {number} [depth] */
function side(pen, v, a, b, depth = 0) {
  // from a to b, bent as the projection bends it
  const from = spot(v, ...a),
    to = spot(v, ...b);
  /** @type {Place} */
  const middle = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
  if (camera.kind === "flat" || depth > 6 || Math.hypot(to[0] - from[0], to[1] - from[1]) < 12) pen.lineTo(...to);
  else {
    side(pen, v, a, middle, depth + 1);
    side(pen, v, middle, b, depth + 1);
  }
}

/** @param {Pen} pen @param {View} v */
function landPath(pen, v) {
  // a ring around the far end of the globe encloses what is not land: the disk turns it over
  /** @type {Place} */
  const far = [((camera.lon + 360) % 360) * 10 - 1800, -camera.lat * 10];
  for (const ring of landNow(v)) {
    pen.moveTo(...spot(v, ring[0], ring[1]));
    for (let i = 2; i < ring.length; i += 2) side(pen, v, [ring[i - 2], ring[i - 1]], [ring[i], ring[i + 1]]);
    pen.closePath();
    if (camera.kind !== "flat" && isInside(ring, ...far)) disk(pen, v);
  }
}

/** @param {Pen} pen @param {View} v */
function coastPath(pen, v) {
  // without the cuts at the 180th meridian and at the pole
  for (const ring of landNow(v)) {
    for (let i = 2; i < ring.length; i += 2) {
      const seam = Math.abs(ring[i]) === 1800 && Math.abs(ring[i - 2]) === 1800;
      if (seam || (ring[i + 1] === -900 && ring[i - 1] === -900)) continue;
      if (!isSeen(ring[i - 2], ring[i - 1]) || !isSeen(ring[i], ring[i + 1])) continue;
      pen.moveTo(...spot(v, ring[i - 2], ring[i - 1]));
      side(pen, v, [ring[i - 2], ring[i - 1]], [ring[i], ring[i + 1]], 5);
    }
  }
}
