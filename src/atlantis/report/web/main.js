// --- the whole: which run, which probe, which step

function describe() { // every text that follows the step
  const step = timeline[state.target], label = `step ${whole(step)}`;
  $("step").value = state.target;
  $("step").setAttribute("aria-valuetext", label);
  $("step-name").textContent = label;
  for (const v of views) v.numbers.textContent = numbers(v);
  mark(step);
  stepTables(step);
  picked();
}

function mark(step) { // the step in the table of checkpoints and on every curve
  for (const row of $("table").tBodies[0].rows) row.classList.toggle("now", Number(row.dataset.step) === step);
  for (const rule of document.querySelectorAll("svg .now")) {
    const x = LEFT + Number(rule.parentNode.dataset.span) * Math.log1p(step);
    rule.setAttribute("x1", x);
    rule.setAttribute("x2", x);
  }
}

function numbers(v) {
  const k = v.index[state.target];
  const parts = k < 0 ? ["not probed yet at this step"] : v.probe.groups.map((group) => {
    const km = `${whole(group.mean_km[k])} km`;
    if (group.virtual) return `${group.name}: ${km} from the true places`;
    const r2 = absent(group.lon_r2[k]) ? "" : `R² ${fixed(group.lon_r2[k], 3)} lon, ${fixed(group.lat_r2[k], 3)} lat; `;
    return `Held-out real cities: ${r2}${km}`;
  });
  return (views.length > 1 ? [v.run.name, ...parts] : parts).join("  ·  ");
}

function legend() {
  const box = $("legend");
  box.replaceChildren();
  const regions = new Map(views.flatMap((v) => v.run.regions).map((region) => [region.name, region]));
  for (const region of regions.values()) {
    const button = make(box, "button", null, { type: "button", "aria-pressed": state.only.has(region.name) });
    const icon = make(button, "svg:svg", null, { viewBox: "-6 -6 12 12", "aria-hidden": "true" });
    const points = starPoints(6).map((p) => p.map((x) => x.toFixed(2)).join()).join(" ");
    if (region.virtual) make(icon, "svg:polygon", null, { points, fill: tint(region.colour) });
    else make(icon, "svg:circle", null, { r: 5, fill: tint(region.colour) });
    make(button, "span", region.name);
    button.addEventListener("click", () => {
      state.only[state.only.has(region.name) ? "delete" : "add"](region.name);
      button.setAttribute("aria-pressed", state.only.has(region.name));
      draw();
    });
  }
}

function showProtocol(name) { // keeps the step and the city where the new probe has them
  stop();
  const step = timeline[state.target];
  state.protocol = name;
  makeViews();
  $("map-section").hidden = !views.length;
  if (!views.length) return stepTables(0);
  $("step").max = timeline.length - 1;
  options($("look"), [["", "the world"], ...views[0].run.regions.map((region) => [region.name, region.name])], "");
  const names = $("city-names");
  names.replaceChildren();
  for (const city of views[0].cities.names) make(names, "option", null, { value: city });
  legend();
  state.position = absent(step) ? timeline.length - 1 : Math.max(0, latest(timeline, step));
  go(state.position, false);
  fit();
}

function cards() { // what became of the map, in a few numbers
  $("finding").replaceChildren();
  for (const { label, value, remark } of run().finding) {
    const card = make($("finding"), "div", null, { class: "card" });
    make(card, "p", label);
    make(card, "p", value, { class: "value" });
    make(card, "p", remark);
  }
}

function contents() { // links to the sections that are there
  $("contents").replaceChildren();
  for (const heading of document.querySelectorAll("main h2")) {
    if (!heading.closest("[hidden]")) make($("contents"), "a", heading.textContent, { href: `#${heading.id}` });
  }
}

function showRun(index) {
  state.run = index;
  cards();
  runTables();
  about();
  const probes = new Map(onMap().flatMap((r) => Object.entries(r.probes)).map(([name, probe]) => [name, probe.title]));
  const protocol = probes.has(state.protocol) ? state.protocol : [...probes.keys()][0] ?? "";
  options($("protocol"), [...probes], protocol);
  $("protocol-choice").hidden = probes.size < 2;
  showProtocol(protocol);
  contents();
}

function showCities(which) {
  $("cities").value = which;
  members();
  resize();
}

function redraw() {
  curves();
  if (!views.length) return;
  legend();
  describe();
  resize();
}

$("title").textContent = DATA.title;
$("version").textContent = `atlantis ${DATA.version}`.trim();
options($("run"), DATA.runs.map((r, k) => [k, r.name]), 0);
$("run-choice").hidden = $("beside-choice").hidden = !several;
$("beside").checked = DATA.runs.length <= 4;
$("run").addEventListener("change", () => showRun(Number($("run").value)));
$("beside").addEventListener("change", () => showRun(state.run));
$("protocol").addEventListener("change", () => showProtocol($("protocol").value));
$("step").addEventListener("input", () => (stop(), go(Number($("step").value))));
$("play").addEventListener("click", play);
$("cities").addEventListener("change", () => showCities($("cities").value));
$("lines").addEventListener("change", draw);
$("look").addEventListener("change", fit);
$("find").addEventListener("input", find);
window.addEventListener("resize", resize);
dark.addEventListener("change", redraw);
for (const [event, paper] of [["beforeprint", true], ["afterprint", false]]) {
  window.addEventListener(event, () => {
    printing = $("config-section").open = paper; // on paper the configuration cannot be opened
    redraw();
  });
}
curves();
showRun(0);
