// --- from a place on the globe to the plane, and from the plane to a canvas
//
// The plane is in degrees, y down. Flat: longitude and latitude as they are. Around: distance and direction from a
// centre (azimuthal equidistant), so that lengths from the centre can be read. All maps share one camera.

const RING_KM = 2000;
const CLOSEST = 80; // the camera comes so many times nearer than the whole
const camera = {
  kind: "flat",
  lon: 0,
  lat: 0,
  x: 0,
  y: 0,
  span: 360,
  home: { x: 0, y: 0, span: 360, aspect: 145 / 360 },
};

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
  return sine < 1e-12 ? [0, arc > 90 ? -180 : 0] : [(arc * east) / sine, (-arc * north) / sine];
}

const onScreen = (v, [x, y]) => [
  ((x - camera.x) * v.width) / camera.span + v.width / 2,
  ((y - camera.y) * v.width) / camera.span + v.height / 2,
];
const screen = (v, lon10, lat10) => onScreen(v, project(lon10, lat10));

function lookHome() {
  Object.assign(camera, { x: camera.home.x, y: camera.home.y, span: camera.home.span });
}

const within = (span) => Math.max(camera.home.span / CLOSEST, Math.min(camera.home.span, span));

function hold() {
  // the camera stays inside the whole
  const { home } = camera;
  camera.span = within(camera.span);
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

function wholeAround({ lon, lat }) {
  Object.assign(camera, { lon, lat, home: { x: 0, y: 0, span: 366, aspect: 1 } });
}

// --- the land on it

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

function disk(pen, v) {
  // the edge of the globe, seen around a centre
  const [x, y] = onScreen(v, [0, 0]),
    r = (180 * v.width) / camera.span;
  pen.moveTo(x + r, y);
  pen.arc(x, y, r, 0, 2 * Math.PI);
}

function side(pen, v, a, b, depth = 0) {
  // from a to b, bent as the projection bends it
  const from = screen(v, ...a),
    to = screen(v, ...b);
  const middle = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
  if (camera.kind === "flat" || depth > 6 || Math.hypot(to[0] - from[0], to[1] - from[1]) < 12) pen.lineTo(...to);
  else {
    side(pen, v, a, middle, depth + 1);
    side(pen, v, middle, b, depth + 1);
  }
}

function landPath(pen, v) {
  // a ring around the far end of the globe encloses what is not land: the disk turns it over
  const far = [((camera.lon + 360) % 360) * 10 - 1800, -camera.lat * 10];
  for (const ring of DATA.land) {
    pen.moveTo(...screen(v, ring[0], ring[1]));
    for (let i = 2; i < ring.length; i += 2) side(pen, v, [ring[i - 2], ring[i - 1]], [ring[i], ring[i + 1]]);
    pen.closePath();
    if (camera.kind !== "flat" && isInside(ring, ...far)) disk(pen, v);
  }
}

function coastPath(pen, v) {
  // without the cuts at the 180th meridian and at the pole
  for (const ring of DATA.land) {
    for (let i = 2; i < ring.length; i += 2) {
      const seam = Math.abs(ring[i]) === 1800 && Math.abs(ring[i - 2]) === 1800;
      if (seam || (ring[i + 1] === -900 && ring[i - 1] === -900)) continue;
      pen.moveTo(...screen(v, ring[i - 2], ring[i - 1]));
      side(pen, v, [ring[i - 2], ring[i - 1]], [ring[i], ring[i + 1]], 5);
    }
  }
}
