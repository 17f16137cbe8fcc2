// --- the view in the page's address, so that a link leads to what is seen

// Names in an address, and the controls whose value they hold.
/** @type {Record<string, SelectName>} */
const KEPT = { layout: "layout", cities: "cities", look: "look", view: "projection", lines: "lines", colour: "colour" };
let remembering = 0;

function viewText() {
  const parts = new URLSearchParams();
  if (several) parts.set("run", String(state.run));
  for (const [name, id] of Object.entries(KEPT)) if ($(id).value) parts.set(name, $(id).value);
  if (state.protocol) parts.set("probe", state.protocol);
  if (timeline.length) parts.set("step", String(timeline[state.target]));
  if (usesBase()) parts.set("from", String(timeline[state.base]));
  if (state.only.size) parts.set("only", JSON.stringify([...state.only]));
  if (state.area) parts.set("area", areaText(state.area));
  if (state.pinned && state.picked) parts.set("city", state.picked);
  const where = camera.kind === "globe" ? [camera.lon, camera.lat] : [camera.x, camera.y];
  if (state.isMoved) parts.set("camera", [...where, camera.span].map((x) => x.toFixed(2)).join());
  return parts.toString();
}

function remember() {
  // soon: a drag changes the view with every pixel
  clearTimeout(remembering);
  remembering = setTimeout(() => window.history.replaceState(null, "", `#${viewText()}`), 250);
}

/** @param {SelectName} id @param {string | null} value */
function choose(id, value) {
  // of a list, if it has that
  if ([...$(id).options].some((option) => option.value === value)) $(id).value = value;
}

function recall() {
  // what an address says; what it does not, or what this page does not have, stays as it is
  const parts = new URLSearchParams(window.location.hash.slice(1)),
    get = (name) => parts.get(name);
  if (![...parts.keys()].some((name) => name in KEPT || name === "step")) return false;
  const k = Number(get("run") ?? 0);
  if (DATA.runs[k]) state.run = k;
  choose("layout", get("layout"));
  state.layout = $("layout").value;
  state.protocol = get("probe") ?? state.protocol;
  for (const name of ["cities", "lines", "colour"]) choose(KEPT[name], get(name));
  showRun(state.run);
  for (const name of ["look", "view"]) choose(KEPT[name], get(name));
  const index = (step) => Math.max(0, latest(timeline, Number(step)));
  if (get("from") !== null) setBase(index(get("from")));
  if (get("step") !== null) go(index(get("step")), false);
  recallRegions(get("only"));
  lookAgain();
  const [x, y, span] = (get("camera") ?? "").split(",").map(Number);
  if (span > 0 && Number.isFinite(x) && Number.isFinite(y)) {
    Object.assign(camera, camera.kind === "globe" ? { lon: x, lat: y, span } : { x, y, span });
    afterMove();
  }
  setArea(areaOf(get("area")));
  if (get("city") && views.some((v) => v.cities.at.has(get("city")))) pick(get("city"), true);
  return true;
}

/** @param {string | null} text */
function recallRegions(text) {
  let names = [];
  try {
    names = JSON.parse(text ?? "[]");
  } catch {
    /* an address that somebody cut off: all regions */
  }
  state.only = new Set(
    allRegions()
      .map((region) => region.name)
      .filter((name) => Array.isArray(names) && names.includes(name)),
  );
  legend();
}

async function copyLink() {
  const link = `${window.location.href.split("#")[0]}#${viewText()}`;
  await copyText(link, $("link"));
}

/** @param {string} text @param {HTMLTextAreaElement} box */
async function copyText(text, box) {
  // into the clipboard, and into a field where the browser keeps that shut
  box.value = text;
  box.hidden = false;
  box.select();
  try {
    await navigator.clipboard.writeText(text);
    $("said").textContent = "Copied.";
  } catch {
    $("said").textContent = "Press Ctrl+C to copy.";
  }
}
