// --- values read off a chart: by pointer, by arrow keys; one crosshair on all charts, a press moves the maps there

/** @param {Panel} panel */
function stepsOf(panel) {
  // those with a mark, where there are any: training batches have none
  const marked = panel.series.filter((s) => !s.faint);
  return [...new Set((marked.length ? marked : panel.series).flatMap((s) => s.steps))].sort((a, b) => a - b);
}

/** @param {Panel} panel @param {number} step */
function valuesAt(panel, step) {
  const lines = [`step ${whole(step)}`];
  for (const s of panel.series) {
    const i = s.steps.indexOf(step);
    if (i < 0 || hiddenCurves.has(`${panel.id}: ${s.label}`)) continue;
    const between =
      s.low && !absent(s.low[i]) ? ` (${shown(s.low[i], panel.digits)} to ${shown(s.high[i], panel.digits)})` : "";
    lines.push(`${s.label}: ${shown(s.values[i], panel.digits)}${panel.unit}${between}`);
  }
  return lines;
}

/** @param {number | null} step */
function cross(step) {
  // null: none
  for (const svg of /** @type {NodeListOf<SVGElement>} */ (document.querySelectorAll(".chart > svg"))) {
    const x = absent(step) ? -9 : LEFT + Number(svg.dataset.span) * Math.log1p(step);
    const rule = svg.querySelector(".cross");
    rule.setAttribute("x1", String(x > W ? -9 : x));
    rule.setAttribute("x2", String(x > W ? -9 : x));
  }
}

/** @param {SVGSVGElement} svg @param {Panel} panel */
function readable(svg, panel) {
  const steps = stepsOf(panel);
  let at = null; // the step that is read
  const letGo = () => ((at = null), cross(null), tip(0, 0, null));
  const read = (step, x, y) => {
    at = step;
    cross(step);
    tip(x, y, valuesAt(panel, step));
  };
  const under = (event) => {
    const box = svg.getBoundingClientRect(),
      x = ((event.clientX - box.left) / box.width) * W;
    const away = (s) => Math.abs(LEFT + Number(svg.dataset.span) * Math.log1p(s) - x);
    return steps.reduce((a, b) => (away(b) < away(a) ? b : a));
  };
  if (!steps.length) return;
  for (const type of /** @type {const} */ (["pointermove", "pointerdown"]))
    svg.addEventListener(type, (event) => read(under(event), event.clientX, event.clientY));
  svg.addEventListener("pointerleave", letGo);
  svg.addEventListener("blur", letGo);
  svg.addEventListener("click", (event) => goToStep(under(event)));
  svg.addEventListener("keydown", (event) => {
    const k = absent(at) ? -1 : steps.indexOf(at),
      last = steps.length - 1;
    const to = { ArrowRight: Math.min(last, k + 1), ArrowLeft: k < 0 ? last : Math.max(0, k - 1), Home: 0, End: last }[
      event.key
    ];
    if (event.key === "Escape") return letGo();
    if (event.key === "Enter" && k >= 0) return goToStep(at);
    if (absent(to)) return;
    event.preventDefault();
    const box = svg.getBoundingClientRect();
    read(
      steps[to],
      box.left + (box.width / W) * (LEFT + Number(svg.dataset.span) * Math.log1p(steps[to])),
      box.top + 20,
    );
    $("reading").textContent = `${panel.title}: ${valuesAt(panel, steps[to]).join("; ")}`;
  });
}

function markStep() {
  // the maps' step on every chart
  for (const rule of document.querySelectorAll(".chart > svg > .now")) {
    const step = timeline[state.target],
      x = absent(step) ? -9 : LEFT + Number(rule.parentElement.dataset.span) * Math.log1p(step);
    rule.setAttribute("x1", String(x > W ? -9 : x));
    rule.setAttribute("x2", String(x > W ? -9 : x));
  }
}
