// --- a pen that writes SVG: what the maps use of a canvas's, so that one code draws both

class SvgPen {
  constructor(width, height) {
    this.root = make(null, "svg:svg", null, { xmlns: SVG, width, height, viewBox: `0 0 ${width} ${height}` });
    this.into = this.root;
    this.d = [];
    this.fillStyle = this.strokeStyle = "#000";
    this.lineWidth = this.globalAlpha = 1;
    this.dash = this.font = "";
  }
  beginPath() {
    this.d = [];
  }
  moveTo(x, y) {
    this.d.push(`M${x.toFixed(1)} ${y.toFixed(1)}`);
  }
  lineTo(x, y) {
    this.d.push(`L${x.toFixed(1)} ${y.toFixed(1)}`);
  }
  closePath() {
    this.d.push("Z");
  }
  arc(x, y, r) {
    // always a whole circle, begun at its right
    const [a, b, size] = [(x - r).toFixed(1), (x + r).toFixed(1), r.toFixed(2)];
    this.d.push(`A${size} ${size} 0 1 1 ${a} ${y.toFixed(1)}A${size} ${size} 0 1 1 ${b} ${y.toFixed(1)}`);
  }
  rect(x, y, w, h) {
    this.d.push(`M${x.toFixed(1)} ${y.toFixed(1)}h${w.toFixed(1)}v${h.toFixed(1)}h${(-w).toFixed(1)}Z`);
  }
  setLineDash(dash) {
    this.dash = dash.join(" ");
  }
  fillRect(x, y, width, height) {
    make(this.into, "svg:rect", null, { x, y, width, height, fill: this.fillStyle, opacity: this.globalAlpha });
  }
  path(look) {
    if (this.d.length) make(this.into, "svg:path", null, { d: this.d.join(""), opacity: this.globalAlpha, ...look });
  }
  fill(rule = "nonzero") {
    this.path({ fill: this.fillStyle, "fill-rule": rule });
  }
  stroke() {
    const dashes = this.dash ? { "stroke-dasharray": this.dash } : {};
    this.path({ fill: "none", stroke: this.strokeStyle, "stroke-width": this.lineWidth, ...dashes });
  }
  fillText(text, x, y) {
    const [, size] = this.font.match(/([\d.]+)px/),
      weight = this.font.startsWith("bold") ? "bold" : "normal";
    make(this.into, "svg:text", text, {
      x,
      y,
      fill: this.fillStyle,
      "font-size": size,
      "font-weight": weight,
      "font-family": "system-ui, sans-serif",
    });
  }
  window(x, y, width, height, draw) {
    // what is drawn keeps inside it
    const outer = this.into;
    this.into = make(outer, "svg:svg", null, { x, y, width, height, overflow: "hidden" });
    draw();
    this.into = outer;
  }
}

class CanvasPen {
  // the same on a canvas of so many pixels a unit
  constructor(width, height, scale) {
    this.canvas = document.createElement("canvas");
    this.canvas.width = width * scale;
    this.canvas.height = height * scale;
    /** @type {Pen} */
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    pen.window = (x, y, w, h, draw) => {
      pen.save();
      pen.translate(x, y);
      pen.beginPath();
      pen.rect(0, 0, w, h);
      pen.clip();
      draw();
      pen.restore();
    };
    this.pen = pen;
  }
}
