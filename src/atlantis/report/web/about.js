// --- what was run, and the finding

function findings() {
  // a sentence for each run, or for the runs that differ in their seed alone
  $("finding").replaceChildren();
  for (const { title, verdict, text, seeds } of DATA.finding) {
    const part = make($("finding"), "p", null, { class: "finding" });
    if (several) make(part, "span", `${title}: `, { class: "who" });
    make(part, "strong", verdict);
    make(part, "span", ` ${text} `);
    make(part, "span", seeds, { class: "seeds" });
  }
}

function cards() {
  // what became of the map, in a few numbers
  $("cards").replaceChildren();
  for (const { label, value, remark } of run().cards) {
    const card = make($("cards"), "div", null, { class: "card" });
    make(card, "p", label);
    make(card, "p", value, { class: "value" });
    make(card, "p", remark);
  }
  $("cards-section").hidden = !run().cards.length;
}

function about() {
  const list = $("about");
  list.replaceChildren();
  for (const { label, value, code } of run().about) {
    make(list, "dt", label);
    make(list, "dd", value, code ? { class: "code" } : {});
  }
  $("config-section").hidden = !run().config;
  $("config").textContent = run().config;
  $("files").replaceChildren();
  for (const href of run().files) make($("files"), "a", decodeURIComponent(href.split("/").pop()), { href });
  $("files-title").hidden = !run().files.length;
}

function contents() {
  // links to the sections that are there now
  $("contents").replaceChildren();
  for (const heading of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("main h2"))) {
    if (heading.closest("[hidden]")) continue;
    const link = make($("contents"), "a", heading.firstChild.textContent, { href: `#${heading.id}` });
    link.addEventListener("click", (event) => {
      // the address keeps the view
      event.preventDefault();
      goTo(heading);
    });
  }
}

/** @param {HTMLElement} heading */
function goTo(heading) {
  heading.scrollIntoView();
  heading.focus({ preventScroll: true });
}

function nameRuns() {
  // a section of one run says of which, and lets choose
  for (const name of document.querySelectorAll(".of-run")) name.textContent = several ? `: ${run().name}` : "";
  for (const choice of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".run-choice"))) {
    choice.hidden = !several || (choice.id === "map-run" && state.layout === "runs");
    options(
      choice.querySelector("select"),
      DATA.runs.map((r, k) => [k, r.name]),
      state.run,
    );
  }
}
