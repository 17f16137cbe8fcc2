// --- colours of cities: by region, or by classes of a number that each has

const SHADES = ["#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"]; // viridis, small to large
const CLASSES = {
  error: { ends: [250, 500, 1000, 2000, Infinity], unit: " km", of: (v, i) => errorAt(v, i, indexNow(v)) },
  digits: { ends: [1, 2, 3, 4, Infinity], unit: " digits", of: (v, i) => String(v.cities.ids[i]).length },
  moved: { ends: [250, 500, 1000, 2000, Infinity], unit: " km", of: movedFromBase },
  virtual: { ends: [1000, 2000, 4000, 8000, Infinity], unit: " km", of: awayFromVirtual },
  city: { ends: [1000, 2000, 4000, 8000, Infinity], unit: " km", of: awayFromPicked },
};
const UNKNOWN = "#7f8790"; // where a city has no such number

/** @param {View} v @param {number} i */
function movedFromBase(v, i) {
  // from where the map had it at the step that others are compared with
  const from = place(v, i, state.base),
    to = place(v, i, v.isFixed ? state.base : state.target);
  return from && to ? kilometres(from, to) : null;
}

/** @param {View} v @param {number} i @returns {Place} */
const truePlace = (v, i) => [v.cities.lon[i], v.cities.lat[i]];

/** @param {View} v @param {number} i */
function awayFromPicked(v, i) {
  // between the true places
  const k = v.cities.at.get(state.picked);
  return k === undefined ? null : kilometres(truePlace(v, i), truePlace(v, k));
}

/** @param {View} v @param {number} i */
function awayFromVirtual(v, i) {
  // from the true place to the middle of the nearest virtual region, in km
  v.virtualMiddles ??= v.run.regions.filter((region) => region.virtual).map((region) => middleOf(region.name));
  const away = v.virtualMiddles.map(({ lon, lat }) => kilometres(truePlace(v, i), [lon * 10, lat * 10]));
  return away.length ? Math.min(...away) : null;
}

/** @param {View} v @param {Region} region @param {number[]} cities @returns {[string, number[]][]} */
function groupsOf(v, region, cities) {
  // [colour, cities]: what is drawn at once
  const classes = CLASSES[$("colour").value];
  if (!classes) return [[region.colour, cities]];
  /** @type {[string, number[]][]} */
  const groups = [...SHADES, UNKNOWN].map((shade) => [shade, []]);
  for (const i of cities) {
    const value = classes.of(v, i);
    groups[absent(value) ? SHADES.length : classes.ends.findIndex((end) => value <= end)][1].push(i);
  }
  return groups;
}

/** @param {HTMLElement} box @param {number[]} ends @param {string[]} hues @param {string} unit */
function classKey(box, ends, hues, unit) {
  // what each colour stands for
  box.replaceChildren();
  ends.forEach((end, k) => {
    const item = make(box, "span");
    const icon = make(item, "svg:svg", null, { viewBox: "0 0 20 8", "aria-hidden": "true" });
    make(icon, "svg:line", null, { x1: 1, x2: 19, y1: 4, y2: 4, stroke: tint(hues[k]), "stroke-width": 5 });
    make(item, "span", end === Infinity ? `more than ${whole(ends[k - 1])}${unit}` : `up to ${whole(end)}${unit}`);
  });
}

function showKeys() {
  // of arrows and of classes, where there are any
  $("base-choice").hidden = !usesBase();
  $("arrow-key").hidden = !$("lines").value;
  classKey($("arrow-key"), ARROW_KM, ARROW_HUES[dark.matches && !printing ? "dark" : "light"], " km long");
  const classes = CLASSES[$("colour").value];
  $("shade-key").hidden = !classes;
  if (classes) classKey($("shade-key"), classes.ends, SHADES, classes.unit);
}
