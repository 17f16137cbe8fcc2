// --- what things mean: the catalogue's words under each chart, and pictures of what can become of a map

/** @param {Element} parent @param {Panel} panel */
function wordsOf(parent, panel) {
  // folded, so that a page of charts stays one of charts
  if (!panel.words) return;
  const box = make(parent, "details", null, { class: "words" });
  make(box, "summary", "What is this?", { "aria-label": `What is this? ${panel.title}` });
  const list = make(box, "dl");
  for (const { name, what, reading } of panel.words) {
    make(list, "dt", name);
    make(list, "dd", reading ? `${what}. ${reading}` : what);
  }
}

const MESH = [0, 1, 2, 3].flatMap((row) => [0, 1, 2, 3].map((at) => [at * 14 - 21, row * 11 - 16.5]));
const TURN = 0.6; // radians
const CHANGED = {
  // a map of sixteen cities, after each kind of change
  shifted: ([x, y]) => [x + 16, y - 8],
  turned: ([x, y]) => [x * Math.cos(TURN) - y * Math.sin(TURN), x * Math.sin(TURN) + y * Math.cos(TURN)],
  bent: ([x, y]) => [x * 1.25 + y * 0.7, y * 0.75],
  lost: (_, k) => [((k * 37 + 11) % 64) - 32, ((k * 23 + 5) % 48) - 24],
};

/** @param {SVGSVGElement} svg @param {number[][]} points @param {{ fill: string; lines: boolean }} look */
function mesh(svg, points, look) {
  points.forEach(([x, y], k) => {
    for (const next of [k % 4 < 3 ? k + 1 : -1, k + 4]) {
      if (points[next] && look.lines)
        make(svg, "svg:line", null, {
          x1: x,
          y1: y,
          x2: points[next][0],
          y2: points[next][1],
          stroke: look.fill,
          "stroke-width": 0.6,
        });
    }
    make(svg, "svg:circle", null, { cx: x, cy: y, r: 1.9, fill: look.fill });
  });
}

/** @param {Element} parent */
function howTo(parent) {
  // pictures of lost, bent, turned and shifted
  const box = make(parent, "details", null, { class: "note" });
  make(box, "summary", "How to read this, in four pictures");
  make(
    box,
    "p",
    "Grey: a map of sixteen cities as the first step's probe sees it. Blue: as the same probe sees it later. " +
      "Each kind of change is undone by another means.",
  );
  const row = make(box, "div", null, { class: "howto" });
  for (const { name, what, reading } of DATA.parts) {
    const figure = make(row, "figure"),
      svg = make(figure, "svg:svg", null, {
        viewBox: "-46 -32 92 64",
        role: "img",
        "aria-label": `${name}: ${reading}`,
      });
    mesh(svg, MESH, { fill: "var(--true)", lines: true });
    mesh(svg, MESH.map(CHANGED[name]), { fill: tint(LINES[0]), lines: name !== "lost" });
    const caption = make(figure, "figcaption");
    make(caption, "strong", name);
    make(caption, "span", `: ${reading} (${what}).`);
  }
}
