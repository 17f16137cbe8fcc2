"use strict";
// One page, one state. Every text from the data goes in by textContent; nothing is ever parsed as HTML.

const DATA = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const LINES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]; // Okabe and Ito (2008)
const DASHES = ["", "7 4", "2 3", "9 3 2 3"];
const MISSING = -32768;
const still = window.matchMedia("(prefers-reduced-motion: reduce)");
const dark = window.matchMedia("(prefers-color-scheme: dark)");
let printing = false;

// position: a place on the timeline, fractional while the map moves to `target`. picked: a city's key, or null.
const state = { run: 0, protocol: "", position: 0, target: 0, only: new Set(), picked: null, pinned: false, timer: 0, frame: 0 };

const run = () => DATA.runs[state.run];
const several = DATA.runs.length > 1;

// --- numbers as text

const absent = (x) => x === null || x === undefined;
const minus = (text) => text.replace("-", "\u2212");
const whole = (x) => (absent(x) ? "–" : minus((Math.round(x) || 0).toLocaleString("en")));
const fixed = (x, digits) => (absent(x) ? "–" : minus(x.toFixed(digits).replace(/^-(?=[0.]*$)/, ""))); // no minus zero
const decimals = (x) => (Math.abs(x) >= 100 ? 0 : Math.abs(x) >= 10 ? 1 : 3); // where each row has its own unit
const shown = (x, digits) => (absent(x) ? "–" : digits === null ? shown(x, decimals(x)) : digits ? fixed(x, digits) : whole(x));
const signed = (x) => (x > 0 ? `+${whole(x)}` : whole(x));
const degrees = (lon, lat) =>
  `${Math.abs(lat).toFixed(1)}° ${lat < 0 ? "S" : "N"}, ${Math.abs(lon).toFixed(1)}° ${lon < 0 ? "W" : "E"}`;

// --- elements

function make(parent, tag, text, attributes) {
  const node = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  if (!absent(text)) node.textContent = text;
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  if (parent) parent.append(node);
  return node;
}

function options(select, entries, chosen) { // entries: [value, text]
  select.replaceChildren();
  for (const [value, text] of entries) make(select, "option", text, { value });
  select.value = chosen;
}

function tip(x, y, lines) { // beside a place in the window; without lines it goes
  const box = $("tip");
  box.hidden = !lines;
  if (!lines) return;
  box.textContent = lines.join("\n");
  box.style.left = `${Math.max(4, Math.min(x + 14, window.innerWidth - box.offsetWidth - 8))}px`;
  const below = y + 16;
  box.style.top = `${below + box.offsetHeight > window.innerHeight ? Math.max(4, y - box.offsetHeight - 10) : below}px`;
}

// --- data: places and errors come as little-endian int16, [steps x cities]

function int16(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Int16Array.from({ length: bytes.length / 2 }, (_, i) => view.getInt16(2 * i, true));
}

for (const { cities, probes } of DATA.runs) {
  for (const key of ["lon", "lat"]) cities[key] = int16(cities[key]);
  cities.n = cities.ids.length;
  cities.keys = cities.ids.map((id, i) => `${id} ${cities.names[i]}`); // the same city in another run, if worlds agree on it
  cities.at = new Map(cities.keys.map((key, i) => [key, i]));
  for (const probe of Object.values(probes)) {
    for (const key of ["lon", "lat", "error_km", "radial_km", "tangential_km"]) {
      if (probe[key]) probe[key] = int16(probe[key]);
    }
  }
}

// --- colours

const PAPER = { "--sea": "#ffffff", "--land": "#e7eaee", "--coast": "#b4bac2", "--true": "#9aa1aa", "--ink": "#000000" };

function css(name) { // a canvas is drawn before the page is laid out for print, so it cannot ask the style sheet then
  if (printing) return PAPER[name];
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function tint(hex) { // on a dark page the darkest colours are lifted towards white
  if (!dark.matches || printing) return hex;
  const rgb = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const light = (0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]) / 255;
  const lift = light < 0.45 ? 0.45 - light : 0;
  return `rgb(${rgb.map((c) => Math.round(c + (255 - c) * lift * 1.2)).join(" ")})`;
}

function starPoints(r) { // five points, the first one up
  return Array.from({ length: 10 }, (_, k) => {
    const a = (k * Math.PI) / 5 - Math.PI / 2, d = k % 2 ? r * 0.42 : r;
    return [d * Math.cos(a), d * Math.sin(a)];
  });
}
