// --- data: places and errors come as little-endian int16, [steps x cities]

/** @param {any} base64 */
function int16(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Int16Array.from({ length: bytes.length / 2 }, (_, i) => view.getInt16(2 * i, true));
}

for (const { cities, probes, neighbours } of DATA.runs) {
  if (neighbours) neighbours.near = int16(neighbours.near);
  for (const key of ["lon", "lat"]) cities[key] = int16(cities[key]);
  cities.n = cities.ids.length;
  cities.keys = cities.ids.map((id, i) => `${id} ${cities.names[i]}`); // the same city in another run's world too
  cities.at = new Map(cities.keys.map((key, i) => [key, i]));
  for (const probe of Object.values(probes)) {
    for (const key of ["lon", "lat", "error_km", "radial_km", "tangential_km"]) {
      if (probe[key]) probe[key] = int16(probe[key]);
    }
  }
}

/** @param {Data["fine"]} packed @returns {ArrayLike<number>[]} */
function finerLand({ lengths, points }) {
  // rings in tenths of a degree, as those of the coarse outlines
  const tenths = Float32Array.from(int16(points), (hundredths) => hundredths / 10);
  let start = 0;
  return lengths.map((n) => tenths.subarray(start, (start += n)));
}
const fineLand = finerLand(DATA.fine);

/** @param {number[]} steps @param {number} step */
const latest = (steps, step) => steps.filter((s) => s <= step).length - 1; // index of the last one so far

/** @param {Place} a @param {Place} b */
function kilometres(a, b) {
  // along a great circle, between [lon, lat] in tenths of a degree
  const radians = (tenths) => (tenths * Math.PI) / 1800;
  const rise = Math.sin(radians(b[1] - a[1]) / 2),
    turn = Math.sin(radians(b[0] - a[0]) / 2);
  const h = rise * rise + Math.cos(radians(a[1])) * Math.cos(radians(b[1])) * turn * turn;
  return 2 * (180 / Math.PI) * KM_PER_DEGREE * Math.asin(Math.min(1, Math.sqrt(h)));
}

// Where a probe puts city i, in tenths of a degree, as [lon, lat]; null where it says nothing.
/** @param {Seen} v @param {number} i @param {number} position @returns {Place | null} */
function place(v, i, position) {
  const k = Math.floor(position),
    share = position - k,
    n = v.cities.n,
    { lon, lat } = v.probe;
  const a = v.index[k] * n + i,
    b = share ? v.index[k + 1] * n + i : a;
  if (a < 0 || lon[a] === MISSING || lon[b] === MISSING) return null;
  let turn = lon[b] - lon[a];
  if (turn > 1800) turn -= 3600;
  if (turn < -1800) turn += 3600;
  let x = lon[a] + share * turn;
  if (x > 1800) x -= 3600;
  if (x < -1800) x += 3600;
  return [x, lat[a] + share * (lat[b] - lat[a])];
}
