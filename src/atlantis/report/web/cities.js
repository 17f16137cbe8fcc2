// --- city by city: a table of those on the maps, or of those that were chosen there; the first of its order

const ROWS = 15; // that are shown; the file has all

// What a press on a cell of the first column does: its city is shown on the maps.
/** @param {string} cell */
const showNamed = (cell) => () => show(run().cities.keys[run().cities.ids.indexOf(Number(cell.split(", id ").at(-1)))]);

/** @param {number} step */
function cityTable(step) {
  // of the chosen run, and of the regions and cities that are chosen
  const name = tableProbe(),
    probe = run().probes[name],
    { cities, regions } = run();
  $("cities-section").hidden = !probe;
  if (!probe) return;
  const k = Math.max(0, latest(probe.steps, step));
  const km = (i, at) => (probe.error_km[at * cities.n + i] === MISSING ? null : probe.error_km[at * cities.n + i]);
  const columns = [
    { title: "city", text: true, press: showNamed },
    { title: "region", text: true },
    ...beforeAndNow(probe.steps[0], probe.steps[k]),
  ];
  const rows = [];
  for (let i = 0; i < cities.n; i++) {
    const region = regions[cities.region[i]];
    const isDrawn = $("cities").value === "all" || probe.held[i] === "1";
    if (isDrawn && isShown(region) && (!state.chosen || state.chosen.has(cities.keys[i])))
      rows.push([`${cities.names[i]}, id ${cities.ids[i]}`, region.name, ...change([km(i, 0), km(i, k)], 1)]);
  }
  const steps = [...new Set([probe.steps[0], probe.steps[k]])].join(", ");
  const python = [
    "from atlantis.report.run_data import load",
    `table = load(${quoted(run().path)}).probes[${quoted(name)}].predictions`,
    `table[table["step"].isin([${steps}])].pivot(index="id", columns="step", values="error_km")`,
  ];
  put("city-table", columns, rows, python);
  const n = `${whole(Math.min(ROWS, rows.length))} of ${whole(rows.length)} cities`;
  $("cities-note").textContent = `${n}, the first of the chosen order. The probe: ${probe.title}.`;
}
