// --- what part of the globe is seen

function allRegions() {
  return [...new Map(DATA.runs.flatMap((r) => r.regions).map((region) => [region.name, region])).values()];
}

function look() {
  camera.kind = $("projection").value;
  const name = $("look").value;
  $("maps").classList.toggle("round", camera.kind !== "flat");
  if (camera.kind === "flat") {
    wholeFlat();
    lookHome();
    if (name) lookAt(name);
  } else {
    const regions = allRegions(),
      chosen = name || (regions.find((region) => region.virtual) ?? regions[0])?.name;
    wholeRound(middleOf(chosen));
    lookHome();
  }
  resize();
}

function lookOn() {
  // at other maps, from where the reader has moved the camera
  const { x, y, span, lon, lat } = camera;
  look();
  if (!state.isMoved) return;
  Object.assign(camera, camera.kind === "globe" ? { span, lon, lat } : { x, y, span });
  hold();
  resize();
}

/** @param {View} v @param {string} name */
function citiesOf(v, name) {
  const k = v.run.regions.findIndex((region) => region.name === name);
  return [...v.cities.ids.keys()].filter((i) => v.cities.region[i] === k);
}

/** @param {number[]} values */
const middle = (values) => values.sort((a, b) => a - b)[values.length >> 1];

/** @param {string} name */
function middleOf(name) {
  // the median city of a region
  for (const v of views) {
    const inside = citiesOf(v, name);
    if (inside.length)
      return {
        lon: middle(inside.map((i) => v.cities.lon[i])) / 10,
        lat: middle(inside.map((i) => v.cities.lat[i])) / 10,
      };
  }
  return { lon: 0, lat: 0 };
}

/** @param {string} name */
function lookAt(name) {
  // its true places and where the probes see them now, but for the outermost of each
  const [xs, ys] = [[], []];
  const keep = (places) => {
    for (const k of [0, 1]) {
      const values = k ? ys : xs,
        sorted = places.map((p) => p[k]).sort((a, b) => a - b),
        cut = Math.floor(0.025 * sorted.length);
      if (sorted.length) values.push(sorted[cut], sorted[sorted.length - 1 - cut]);
    }
  };
  for (const v of views) {
    const inside = citiesOf(v, name),
      at = v.isFixed ? state.base : state.target;
    keep(inside.map((i) => project(v.cities.lon[i], v.cities.lat[i])));
    keep(
      inside
        .map((i) => place(v, i, at))
        .filter(Boolean)
        .map((to) => project(...to)),
    );
  }
  if (!xs.length) return;
  const [west, east, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const span = 1.15 * Math.max(18, east - west, (bottom - top) / camera.home.aspect);
  Object.assign(camera, { x: (west + east) / 2, y: (top + bottom) / 2, span });
  hold();
}

function resize() {
  const scale = window.devicePixelRatio || 1;
  for (const v of views) {
    v.width = v.canvas.parentElement.clientWidth;
    v.height = Math.round(v.width * camera.home.aspect);
    for (const canvas of [v.canvas, v.base]) {
      canvas.width = Math.round(v.width * scale);
      canvas.height = Math.round(v.height * scale);
      canvas.getContext("2d").setTransform(scale, 0, 0, scale, 0, 0);
    }
    v.canvas.classList.toggle("zoomed", canBeMoved());
  }
  drawAll();
}
