/* Small charts as SVG, made element by element; numbers as people read them. */

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element with attributes and children. */
export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** An HTML element with properties and children; texts are never read as markup. */
export function html(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** A number with two decimals, and a sign where `signed`. */
export function number(value, signed = false) {
  if (value === null || value === undefined) return "–";
  return `${value < 0 ? "−" : signed ? "+" : ""}${Math.abs(value).toFixed(2)}`;
}

/** From values between `low` and `high` to places between `from` and `to`. */
export function scale(low, high, from, to) {
  const width = high - low || 1;
  return (value) => from + ((value - low) / width) * (to - from);
}

/** The smallest and the largest of some numbers, a little wider. */
export function range(values) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const more = (high - low || 1) * 0.08;
  return [low - more, high + more];
}

/** A difference as a dot with its interval on a line around 0; `reach` is the largest that is shown. */
export function intervalChart({ value, low, high }, reach) {
  const x = scale(-reach, reach, 4, 156);
  const marks = [
    svg("line", { x1: 0, y1: 10, x2: 160, y2: 10, class: "faint" }),
    svg("line", { x1: x(0), y1: 2, x2: x(0), y2: 18, class: "axis" }),
  ];
  if (low !== null) {
    const [from, to] = [low, high].map((end) => x(Math.min(Math.max(end, -reach), reach)));
    marks.push(svg("line", { x1: from, y1: 10, x2: to, y2: 10, class: "span" }));
  }
  marks.push(svg("circle", { cx: x(Math.min(Math.max(value, -reach), reach)), cy: 10, r: 5, class: "dot" }));
  return svg("svg", { viewBox: "0 0 160 20", width: 160, height: 20, class: "chart", "aria-hidden": "true" }, ...marks);
}

/** Lines over steps: `lines` are `{ points: [{ step, value }], kind }`. */
export function lineChart(lines, numSteps, label) {
  const values = lines.flatMap(({ points }) => points.map(({ value }) => value));
  const [low, high] = range(values);
  const x = scale(1, numSteps, 6, 154);
  const y = scale(low, high, 66, 6);
  const drawn = lines.flatMap(({ points, kind }) => {
    if (!points.length) return [];
    const path = points.map(({ step, value }) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    const last = points.at(-1);
    return [
      svg("polyline", { points: path, class: `line ${kind}` }),
      svg("circle", { cx: x(last.step), cy: y(last.value), r: 3.5, class: `end ${kind}` }),
    ];
  });
  const frame = svg("line", { x1: 6, y1: 70, x2: 154, y2: 70, class: "faint" });
  return svg("svg", { viewBox: "0 0 160 74", class: "line-chart", role: "img", "aria-label": label }, frame, ...drawn);
}
