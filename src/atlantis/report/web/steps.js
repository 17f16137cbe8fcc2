// --- the step: slider, play, one transition

/** @param {number} target @param {boolean} [smoothly] */
function go(target, smoothly = true) {
  state.target = Math.max(0, Math.min(timeline.length - 1, target));
  cancelAnimationFrame(state.frame);
  isMoving = false;
  if ($("look").value && camera.kind === "flat" && !state.isMoved) {
    lookAt($("look").value); // a region's cities may be elsewhere at this step
    drawAll();
  }
  describe();
  if (!smoothly || still.matches) {
    state.position = state.target;
    return draw();
  }
  const from = state.position,
    to = state.target,
    begun = performance.now();
  const tick = (now) => {
    const share = Math.min(1, Math.max(0, (now - begun) / 350));
    isMoving = share < 1;
    state.position = share === 1 ? to : from + (to - from) * share;
    draw();
    if (share < 1) state.frame = requestAnimationFrame(tick);
  };
  state.frame = requestAnimationFrame(tick);
}

/** @param {number} step */
function goToStep(step) {
  // the latest place on the timeline that is not after it
  stop();
  go(Math.max(0, latest(timeline, step)));
}

function play() {
  if (state.timer) return stop();
  $("play").textContent = "Pause";
  if (state.target === timeline.length - 1) go(0, false);
  state.timer = setInterval(() => {
    if (state.target < timeline.length - 1) go(state.target + 1);
    if (state.target >= timeline.length - 1) stop();
  }, 800);
}

function stop() {
  clearInterval(state.timer);
  state.timer = 0;
  $("play").textContent = "Play";
}
