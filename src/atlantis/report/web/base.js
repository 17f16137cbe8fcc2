"use strict";
// One page, one state. Every text from the data goes in by textContent; nothing is ever parsed as HTML.

/** @type {Data} */
const DATA = JSON.parse(document.getElementById("data").textContent);
/** @type {<K extends string>(id: K) => K extends keyof Controls ? Controls[K] : HTMLElement} */
const $ = (id) => /** @type {any} */ (document.getElementById(id));
const SVG = "http://www.w3.org/2000/svg";
const LINES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]; // Okabe and Ito (2008)
const DASHES = ["", "7 4", "2 3", "9 3 2 3", "15 4", "4 8", "9 3 2 3 2 3", "15 3 5 3", "2 8", "15 3 2 3 2 3"];
const MISSING = -32768;
const KM_PER_DEGREE = (6371.0088 * Math.PI) / 180; // of a great circle
const still = window.matchMedia("(prefers-reduced-motion: reduce)");
const dark = window.matchMedia("(prefers-color-scheme: dark)");
let printing = false;

// What the reader has chosen. run: of the sections that have one. layout: what stands side by side. base: the place on
// the timeline that others are compared with. position: where the map is on it, fractional while it moves to `target`.
// only: regions to show alone. picked: a city's key, or null. isMoved: the camera is no longer where `look` put it.
// isOutlining: the next press on a map begins an outline. area: what it enclosed, or null. chosen: its cities' keys.
/** @type {State} */
const state = {
  run: 0,
  layout: "one",
  protocol: "",
  base: 0,
  position: 0,
  target: 0,
  only: new Set(),
  isMoved: false,
  isOutlining: false,
  area: null,
  chosen: null,
  picked: null,
  pinned: false,
  timer: 0,
  frame: 0,
};

const run = () => DATA.runs[state.run];
const several = DATA.runs.length > 1;

// --- numbers as text

/** @param {any} x */
const absent = (x) => x === null || x === undefined;
/** @param {string} text */
const minus = (text) => text.replace("-", "\u2212");
/** @param {number | null} x */
const whole = (x) => (absent(x) ? "–" : minus((Math.round(x) || 0).toLocaleString("en")));
/** @param {number | null} x @param {number} digits */
const fixed = (x, digits) => (absent(x) ? "–" : minus(x.toFixed(digits).replace(/^-(?=[0.]*$)/, ""))); // no minus zero
/** @param {number} x */
const decimals = (x) => (Math.abs(x) >= 100 ? 0 : Math.abs(x) >= 10 ? 1 : 3); // where each row has its own unit
/** @param {number | null} x @param {number | null} digits @returns {string} */
const shown = (x, digits) =>
  absent(x) ? "–" : digits === null ? shown(x, decimals(x)) : digits ? fixed(x, digits) : whole(x);
/** @param {number | null} x */
const signed = (x) => (x > 0 ? `+${whole(x)}` : whole(x));
/** @param {number} lon @param {number} lat */
const degreesText = (lon, lat) =>
  `${Math.abs(lat).toFixed(1)}° ${lat < 0 ? "S" : "N"}, ${Math.abs(lon).toFixed(1)}° ${lon < 0 ? "W" : "E"}`;

// --- elements

/** @param {Element | null} parent @param {string} tag @param {string | number} [text] @param {Look} [attributes]
 * @returns {any} */
function make(parent, tag, text, attributes) {
  const node = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  if (!absent(text)) node.textContent = String(text);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, String(value));
  if (parent) parent.append(node);
  return node;
}

/** @param {HTMLSelectElement} select @param {any[][]} entries @param {any} chosen */
function options(select, entries, chosen) {
  // entries: [value, text]
  select.replaceChildren();
  for (const [value, text] of entries) make(select, "option", text, { value });
  select.value = chosen;
}

/** @param {number} x @param {number} y @param {string[] | null} lines */
function tip(x, y, lines) {
  // beside a place in the window; without lines it goes
  const box = $("tip");
  box.hidden = !lines;
  if (!lines) return;
  box.textContent = lines.join("\n");
  box.style.left = `${Math.max(4, Math.min(x + 14, window.innerWidth - box.offsetWidth - 8))}px`;
  const below = y + 16;
  box.style.top = `${below + box.offsetHeight > window.innerHeight ? Math.max(4, y - box.offsetHeight - 10) : below}px`;
}
