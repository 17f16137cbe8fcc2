// --- the whole: which runs, which probes, which step

function describe() {
  // every text that follows the step
  const step = timeline[state.target],
    label = absent(step) ? "" : `step ${whole(step)}`;
  $("step").value = String(state.target);
  $("step").setAttribute("aria-valuetext", label);
  $("step-name").textContent = label;
  for (const v of views) {
    v.caption.textContent = captionOf(v);
    v.numbers.textContent = numbers(v);
  }
  for (const row of $("table").tBodies[0]?.rows ?? []) row.classList.toggle("now", Number(row.dataset.step) === step);
  markStep();
  stepTables(step ?? 0);
  if (pointed && !$("tip").hidden) tip(pointed.x, pointed.y, story(pointed.v, pointed.i));
  picked();
  remember();
}

/** @param {View} v */
function numbers(v) {
  const k = indexNow(v);
  if (k < 0) return "";
  const parts = v.probe.groups.map((group) => {
    const km = `${whole(group.mean_km[k])} km`;
    if (group.virtual) return `${group.name}: ${km} from the true places`;
    const r2 = absent(group.lon_r2[k]) ? "" : `R² ${fixed(group.lon_r2[k], 3)} lon, ${fixed(group.lat_r2[k], 3)} lat; `;
    return `Held-out real cities: ${r2}${km}`;
  });
  return parts.join("  ·  ");
}

function legend() {
  const box = $("legend");
  box.replaceChildren();
  for (const region of allRegions()) {
    const button = make(box, "button", null, { type: "button", "aria-pressed": state.only.has(region.name) });
    const icon = make(button, "svg:svg", null, { viewBox: "-7 -7 14 14", "aria-hidden": "true" });
    const points = starPoints(6)
      .map((p) => p.map((x) => x.toFixed(2)).join())
      .join(" ");
    if (region.virtual) make(icon, "svg:polygon", null, { points, fill: tint(region.colour) });
    else
      make(icon, "svg:circle", null, {
        r: 5,
        fill: tint(region.colour),
        stroke: edge(region.colour),
        "stroke-width": 1.2,
      });
    make(button, "span", region.name);
    button.addEventListener("click", () => toggleRegion(region.name));
  }
}

/** @param {string} name */
function toggleRegion(name) {
  state.only[state.only.has(name) ? "delete" : "add"](name);
  for (const button of $("legend").children) {
    button.setAttribute("aria-pressed", String(state.only.has(button.textContent)));
  }
  draw();
  cityTable(timeline[state.target] ?? 0);
  remember();
}

const usesBase = () => state.layout === "steps" || $("lines").value === "base" || $("colour").value === "moved";

/** @param {number} k */
function setBase(k) {
  state.base = k;
  $("base").value = String(k);
}

function showMaps() {
  // keeps the step and the city where the new maps have them
  stop();
  const step = timeline[state.target],
    base = timeline[state.base];
  makeViews();
  const has = views.length > 0;
  $("map-section").hidden = !has && !empty.length;
  for (const part of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("#map-section .needs-map")))
    part.hidden = !has;
  $("step").max = String(Math.max(0, timeline.length - 1));
  options(
    $("base"),
    timeline.map((s, k) => [k, `step ${whole(s)}`]),
    0,
  );
  setBase(Math.max(0, latest(timeline, base ?? 0)));
  const chosen = $("look").value;
  options($("look"), [["", "the world"], ...allRegions().map((region) => [region.name, region.name])], "");
  choose("look", chosen);
  showKeys();
  legend();
  state.target = state.position = absent(step) ? Math.max(0, timeline.length - 1) : Math.max(0, latest(timeline, step));
  if (has) lookOn();
  go(state.target, false);
  contents();
}

function layouts() {
  // what can stand side by side
  const entries = several ? [["runs", "all runs, side by side"]] : [];
  return [
    ...entries,
    ["probes", "the first step's probe beside a new one"],
    ["one", "one probe"],
    ["steps", "two steps of one probe"],
  ];
}

/** @param {number} index */
function showRun(index) {
  state.run = index;
  nameRuns();
  cards();
  runTables();
  about();
  const shownRuns = state.layout === "runs" ? DATA.runs : [run()];
  const has = new Set(shownRuns.flatMap((r) => Object.keys(r.probes)));
  const probes = Object.keys(DATA.protocols).filter((name) => DATA.runs.some((r) => r.probes[name]));
  if (!probes.includes(state.protocol)) state.protocol = probes.find((name) => has.has(name)) ?? probes[0] ?? "";
  options(
    $("protocol"),
    probes.map((name) => [name, DATA.protocols[name]]),
    state.protocol,
  );
  $("protocol-choice").hidden = state.layout === "probes" || probes.length < 2;
  showMaps();
}

/** @param {string} which */
function showCities(which) {
  $("cities").value = which;
  members();
  drawAll();
  cityTable(timeline[state.target] ?? 0);
  remember();
}

function redraw() {
  curves();
  markStep();
  if (!views.length) return;
  legend();
  showKeys();
  describe();
  resize();
}

function begin() {
  $("title").textContent = DATA.title;
  $("version").textContent = `atlantis ${DATA.version}`.trim();
  findings();
  const first = several && DATA.runs.length <= 4 ? "runs" : run().probes.frozen ? "probes" : "one";
  options($("layout"), layouts(), first);
  state.layout = first;
  $("more").open = window.innerWidth > 600; // a phone has the map sooner
  for (const name of Object.keys(orders)) saveTable(/** @type {TableName} */ (name));
  $("seeds-choice").hidden = !DATA.means;
  $("n-seeds").textContent = String(DATA.means?.n ?? "");
  curves();
  showRun(0);
  recall();
}

const acts = {
  layout: () => ((state.layout = $("layout").value), showRun(state.run)),
  protocol: () => ((state.protocol = $("protocol").value), showRun(state.run)),
  base: () => (setBase(Number($("base").value)), describe(), draw()),
  cities: () => showCities($("cities").value),
  lines: () => (showKeys(), draw(), remember()),
  colour: () => (showKeys(), draw(), remember()),
  look: lookAgain,
  projection: lookAgain,
  seeds: () => (curves(), markStep()),
};
for (const [id, act] of Object.entries(acts)) $(id).addEventListener("change", act);
for (const choice of /** @type {NodeListOf<HTMLSelectElement>} */ (document.querySelectorAll(".run-choice select")))
  choice.addEventListener("change", () => showRun(Number(choice.value)));
const presses = {
  play,
  copy: copyLink,
  png: savePng,
  svg: saveSvg,
  csv: saveCities,
  python: () => copyText(mapPython().join("\n"), $("link")),
  closer: () => views[0] && zoom(views[0], STEP),
  farther: () => views[0] && zoom(views[0], 1 / STEP),
  home: lookAgain,
  outline: () => setOutlining(!state.isOutlining),
  "in-view": chooseInView,
  everything: () => setArea(null),
  "to-table": () => goTo($("cities-title")),
};
for (const [id, act] of Object.entries(presses)) $(id).addEventListener("click", act);
$("step").addEventListener("input", () => (stop(), go(Number($("step").value))));
$("find").addEventListener("input", find);
window.addEventListener("resize", resize);
window.addEventListener("hashchange", recall);
dark.addEventListener("change", redraw);
for (const event of ["beforeprint", "afterprint"]) {
  window.addEventListener(event, () => {
    printing = $("config-section").open = event === "beforeprint"; // on paper the configuration cannot be opened
    redraw();
  });
}
begin();
