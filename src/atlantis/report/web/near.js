// --- the neighbours of a city in the hidden states, beside their true distances: at the first step and at the last

/** @param {View} v @param {number} i @returns {[number, number[]][]} */
function neighboursAt(v, i) {
  // [step, cities], the nearest first, of each step that there is a table of
  const { neighbours } = v.run;
  if (!neighbours) return [];
  const { steps, k, near } = neighbours;
  return steps.map((step, at) => {
    const start = (at * v.cities.n + i) * k;
    return [step, [...near.subarray(start, start + k)].filter((j) => j !== MISSING)];
  });
}

/** @param {View} v @param {number} i */
function neighboursNow(v, i) {
  // those of the latest such step that is not after the map's
  const now = v.probe.steps[Math.max(0, indexNow(v))];
  return neighboursAt(v, i).findLast(([step]) => step <= now)?.[1] ?? [];
}

function listNeighbours() {
  // of the city that is picked, in the run of the first map that has it
  const box = $("near");
  box.replaceChildren();
  const v = views.find((view) => view.cities.at.has(state.picked));
  if (!v) return;
  const i = v.cities.at.get(state.picked);
  for (const [step, cities] of neighboursAt(v, i)) {
    const line = make(box, "p");
    const run = several ? `${v.run.name}, ` : "";
    make(line, "span", `Nearest in the hidden states (${run}step ${whole(step)}): `);
    if (!cities.length) make(line, "span", "none of the cities on the maps");
    for (const j of cities) {
      const km = whole(kilometres(truePlace(v, i), truePlace(v, j)));
      const button = make(line, "button", `${v.cities.names[j]}, ${km} km`, { type: "button", class: "plain" });
      button.addEventListener("click", () => show(v.cities.keys[j]));
    }
  }
}

/** @param {Pen} pen @param {View} v @param {number} i @param {number} r */
function drawNeighbours(pen, v, i, r) {
  // a ring around each
  pen.beginPath();
  for (const j of neighboursNow(v, i)) {
    const to = place(v, j, position(v));
    if (to && isSeen(...to)) dot(pen, ...spot(v, ...to), 2 * r);
  }
  pen.strokeStyle = css("--ink");
  pen.lineWidth = 1;
  pen.stroke();
}
