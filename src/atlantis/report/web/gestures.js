// --- zoom and pan: wheel, two fingers, dragging, keys and buttons; a press that does not move picks a city

const STEP = 1.6,
  DRAG = 5; // of one zoom; pixels after which a press is a drag

/** @param {View} v @param {number} factor @param {number} [x] @param {number} [y] */
function zoom(v, factor, x = v.width / 2, y = v.height / 2) {
  // what lies at x, y stays there
  const before = camera.span;
  camera.span = within(before / factor);
  camera.x += ((x - v.width / 2) * (before - camera.span)) / v.width;
  camera.y += ((y - v.height / 2) * (before - camera.span)) / v.width;
  afterMove();
}

const canBeMoved = () => isZoomed() || camera.kind === "globe";

/** @param {View} v @param {number} dx @param {number} dy */
function pan(v, dx, dy) {
  // by so many pixels; a globe turns
  const [right, down] = [dx, dy].map((pixels) => (pixels * camera.span) / v.width);
  if (camera.kind === "globe") {
    const degrees = 180 / Math.PI / EDGE.globe; // of a turn, for one of the plane
    camera.lon = ((((camera.lon - right * degrees + 180) % 360) + 360) % 360) - 180;
    camera.lat += down * degrees;
  } else {
    camera.x -= right;
    camera.y -= down;
  }
  afterMove();
}

function afterMove() {
  hold();
  state.isMoved = true;
  tip(0, 0, null);
  pointed = null;
  drawSoon(true);
  remember();
}

function lookAgain() {
  // as the choice of region has it
  state.isMoved = false;
  look();
  remember();
}

/** @param {WheelEvent} event @param {View} v */
function wheel(event, v) {
  // with Ctrl (as trackpads send a pinch), or once the map was pressed or focused; else the page scrolls
  const isOurs = event.ctrlKey || event.metaKey || document.activeElement === v.canvas;
  if (!isOurs || (event.deltaY > 0 && !isZoomed())) return;
  event.preventDefault();
  zoom(
    v,
    1.0015 ** -Math.max(-300, Math.min(300, event.deltaY * (event.deltaMode ? 20 : 1))),
    event.offsetX,
    event.offsetY,
  );
}

/** @param {KeyboardEvent} event @param {View} v */
function keys(event, v) {
  const arrow = ARROWS[event.key];
  if (event.key === "Escape") {
    point(v, null, 0, 0);
    pick(null, false);
    letOutlineGo();
  } else if (event.key === "+" || event.key === "=") zoom(v, STEP);
  else if (event.key === "-") zoom(v, 1 / STEP);
  else if (event.key === "0") lookAgain();
  else if (arrow && event.shiftKey) pan(v, (-arrow[0] * v.width) / 8, (-arrow[1] * v.width) / 8);
  else if (arrow) walk(v, arrow);
  else return;
  event.preventDefault();
}

/** @param {PointerEvent} event @param {View} v */
function down(event, v) {
  if (state.isOutlining) return beginOutline(event, v);
  v.fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
  v.travel = v.fingers.size > 1 ? Infinity : 0;
  v.canvas.setPointerCapture(event.pointerId); // a drag may leave the map
}

/** @param {PointerEvent} event @param {View} v */
function move(event, v) {
  if (outline) return goOnWithOutline(event, v);
  const before = v.fingers.get(event.pointerId),
    now = [event.offsetX, event.offsetY];
  if (!before) return hover(event, v, false);
  const other = [...v.fingers].find(([id]) => id !== event.pointerId)?.[1];
  v.fingers.set(event.pointerId, now);
  if (other) {
    const apart = (a) => Math.max(1, Math.hypot(a[0] - other[0], a[1] - other[1]));
    return zoom(v, apart(now) / apart(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  }
  v.travel += Math.hypot(now[0] - before[0], now[1] - before[1]);
  if (v.travel > DRAG && canBeMoved()) pan(v, now[0] - before[0], now[1] - before[1]);
}

/** @param {PointerEvent} event @param {View} v */
function up(event, v) {
  if (outline) return endOutline();
  if (v.fingers.delete(event.pointerId) && v.travel <= DRAG) hover(event, v, true);
}

/** @param {View} v */
function listen(v) {
  v.fingers = new Map();
  v.travel = 0;
  const { canvas } = v,
    on = (type, act) => canvas.addEventListener(type, (event) => act(event, v));
  on("pointerdown", down);
  on("pointermove", move);
  on("pointerup", up);
  on("pointercancel", (event) => (v.fingers.delete(event.pointerId), letOutlineGo()));
  on("pointerleave", (event) => {
    v.fingers.delete(event.pointerId);
    point(v, null, 0, 0);
    if (!state.pinned) pick(null, false);
  });
  on("keydown", keys);
  on("blur", () => point(v, null, 0, 0));
  canvas.addEventListener("wheel", (event) => wheel(event, v), { passive: false });
}
