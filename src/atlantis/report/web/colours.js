// --- colours: of the page's two themes and of paper

const PAPER = {
  "--paper": "#ffffff",
  "--sea": "#ffffff",
  "--land": "#e7eaee",
  "--coast": "#b4bac2",
  "--true": "#7f8790",
  "--ink": "#000000",
  "--muted": "#444444",
};
const LEAST_CONTRAST = 3; // of what must be seen on land (WCAG 2.2, 1.4.11)

/** @param {string} name */
function css(name) {
  // a canvas is drawn before the page is laid out for print, so it cannot ask the style sheet then
  if (printing) return PAPER[name];
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** @param {string} hex */
const parts = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
/** @param {number[]} rgb @param {number} end @param {number} share */
const mixed = (rgb, end, share) => rgb.map((c) => Math.round(c + (end - c) * share));
/** @param {number[]} rgb */
const written = (rgb) => `rgb(${rgb.join(" ")})`;

/** @param {number[]} rgb */
function luminance(rgb) {
  const [r, g, b] = rgb.map((c) => (c <= 10 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** @param {number[]} a @param {number[]} b */
function contrast(a, b) {
  // from 1 to 21
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

/** @param {string} hex */
function lifted(hex) {
  // on a dark page the darkest colours are lifted towards white
  const rgb = parts(hex);
  if (!dark.matches || printing) return rgb;
  const light = (0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]) / 255;
  return mixed(rgb, 255, light < 0.45 ? (0.45 - light) * 1.2 : 0);
}

/** @param {string} hex */
const tint = (hex) => (dark.matches && !printing ? written(lifted(hex)) : hex);

const edges = new Map();
/** @param {string} hex */
function edge(hex) {
  // the same hue, as far from the land's colour as an outline must be
  const name = `${hex}${dark.matches}${printing}`;
  if (!edges.has(name)) {
    const land = parts(css("--land")),
      end = luminance(land) > 0.2 ? 0 : 255;
    let rgb = lifted(hex);
    for (let share = 0.05; share < 1 && contrast(rgb, land) < LEAST_CONTRAST; share += 0.05)
      rgb = mixed(lifted(hex), end, share);
    edges.set(name, written(rgb));
  }
  return edges.get(name);
}

/** @param {number} r */
function starPoints(r) {
  // five points, the first one up
  return Array.from({ length: 10 }, (_, k) => {
    const a = (k * Math.PI) / 5 - Math.PI / 2,
      d = k % 2 ? r * 0.42 : r;
    return [d * Math.cos(a), d * Math.sin(a)];
  });
}
