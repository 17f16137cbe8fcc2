// --- the maps: a frame for each run, probe or step that stands beside the others, all by one slider and one camera

/** @type {View[]} */
let views = []; // the frames that have a map
/** @type {{ r: Run; protocol: string }[]} */
let empty = []; // those that say why they have none
/** @type {number[]} */
let timeline = []; // every probed step of the runs on the maps

// The probe that is fitted anew as the kept one was fitted: on the sphere.
/** @param {Run} r */
const refitted = (r) => ["sphere", "degrees"].find((name) => r.probes[name]) ?? "sphere";
/** @param {View} v */
const position = (v) => (v.isFixed ? state.base : state.position);
/** @param {View} v */
const indexNow = (v) => v.index[v.isFixed ? state.base : state.target];

/** @returns {{ r: Run; protocol: string; isFixed?: boolean }[]} */
function mapsWanted() {
  // what stands beside each other
  if (state.layout === "runs") return DATA.runs.map((r) => ({ r, protocol: state.protocol }));
  if (state.layout === "steps")
    return [true, false].map((isFixed) => ({ r: run(), protocol: state.protocol, isFixed }));
  if (state.layout === "probes") return ["frozen", refitted(run())].map((protocol) => ({ r: run(), protocol }));
  return [{ r: run(), protocol: state.protocol }];
}

function makeViews() {
  const wanted = mapsWanted(),
    probes = wanted.map(({ r, protocol }) => r.probes[protocol]).filter(Boolean);
  timeline = [...new Set(probes.flatMap((probe) => probe.steps))].sort((a, b) => a - b);
  $("maps").replaceChildren();
  $("maps").classList.toggle("beside", wanted.length > 1);
  [views, empty] = [[], []];
  for (const { r, protocol, isFixed = false } of wanted) {
    if (r.probes[protocol]) views.push(makeView(r, r.probes[protocol], isFixed));
    else empty.push(emptyFrame(r, protocol));
  }
  views.forEach((v, k) => (v.numbers.id = `numbers-${k}`));
  members();
}

/** @param {Run} r @param {Probe} probe @param {boolean} isFixed */
function makeView(r, probe, isFixed) {
  const figure = make($("maps"), "figure", null, { class: "frame" });
  const caption = make(figure, "figcaption", null, { class: "caption" });
  const label =
    `Map of ${r.name}. Arrow keys go from city to city, plus and minus zoom, Shift with an arrow moves the map, ` +
    "Escape lets go.";
  const canvas = make(figure, "canvas", null, {
    role: "img",
    tabindex: 0,
    "aria-label": label,
    "aria-describedby": "picked",
  });
  const numbers = make(figure, "p", null, { class: "numbers" });
  if (r.thinned) make(figure, "p", r.thinned, { class: "note" });
  const index = timeline.map((step) => latest(probe.steps, step));
  const v = {
    run: r,
    probe,
    isFixed,
    cities: r.cities,
    index,
    canvas,
    caption,
    numbers,
    base: document.createElement("canvas"),
    width: 0,
    height: 0,
  };
  listen(v);
  return v;
}

/** @param {Run} r @param {string} protocol */
function emptyFrame(r, protocol) {
  const figure = make($("maps"), "figure", null, { class: "frame" });
  make(figure, "figcaption", `${r.name}: ${DATA.protocols[protocol] ?? "no probe"}`, { class: "caption" });
  make(figure, "p", r.lacks[protocol] ?? r.lacks.any, { class: "lacking" });
  return { r, protocol };
}

/** @param {View} v */
function captionOf(v) {
  // the run, its probe and its own step, which may lie before the slider's
  const wanted = timeline[v.isFixed ? state.base : state.target],
    k = indexNow(v),
    { steps } = v.probe;
  if (k < 0) return `${v.run.name}: ${v.probe.title}, not probed yet at step ${whole(wanted)}`;
  const last = k === steps.length - 1 ? "its last" : `its last before ${whole(wanted)}`;
  return `${v.run.name}: ${v.probe.title}, step ${whole(steps[k])}${steps[k] === wanted ? "" : ` (${last})`}`;
}

function members() {
  // which cities to draw, by region
  const all = $("cities").value === "all";
  for (const v of views) {
    v.members = v.run.regions.map(() => []);
    for (let i = 0; i < v.cities.n; i++) if (all || v.probe.held[i] === "1") v.members[v.cities.region[i]].push(i);
  }
}
