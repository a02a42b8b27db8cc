/* What the judge says of both clips, and what the guide thought of them on their way. */

import { html, intervalChart, lineChart, number } from "./drawing.js";

const $ = (id) => document.getElementById(id);

/** What there is to say of a clip on each dimension: the judge's scores or, without one, the guide's last. */
function scoresOf(clip) {
  return clip?.scores ?? clip?.curve.at(-1)?.scores ?? {};
}

function interval({ value, low, high }) {
  return low === null ? number(value, true) : `${number(value, true)} [${number(low, true)}, ${number(high, true)}]`;
}

/** Draws the scores of one row of a comparison, and the mean differences of all. */
export function drawScores(about, comparison, row) {
  const names = about.judged.length ? about.judged : about.dimensions;
  const [base, steered] = [row?.base, row?.steered].map(scoresOf);
  const differences = Object.values(comparison.differences);
  const reach = Math.max(0.05, ...differences.flatMap(({ value, low, high }) => [value, low, high].map((end) => Math.abs(end ?? 0))));
  const rows = names.map((name) => {
    const difference = comparison.differences[name] ?? { value: steered[name] - base[name], low: null, high: null };
    const known = Number.isFinite(difference.value);
    return html(
      "tr", {},
      html("th", { scope: "row", textContent: name }),
      html("td", { className: "number", textContent: number(base[name]) }),
      html("td", { className: "number", textContent: number(steered[name]) }),
      html("td", { className: "number difference", textContent: known ? interval(difference) : "–" }),
      html("td", {}, known && about.judged.length ? intervalChart(difference, reach) : ""),
    );
  });
  $("scores").tBodies[0].replaceChildren(...rows);
  $("scores-says").textContent = caption(about, comparison, row);
  $("scores-box").hidden = names.length === 0 || !row?.base;
}

function caption(about, { num_scored: num }, row) {
  const unscored = row?.steered?.unscored ?? row?.base?.unscored;
  if (unscored) return `Not scored: ${unscored}`;
  if (!about.judged.length) return `Seed ${row?.seed}; there is no judge (--judge), so this is what the guide thought at the last step.`;
  const sure = num > 1 ? `the mean over ${num} seeds with its 95% interval` : "of one seed, which has no interval: give several seeds";
  return `Seed ${row?.seed}, by the ${about.judge}; the difference is ${sure}.`;
}

/** Draws how the guide's scores rose; `row` has the two clips, or what is there of them. */
export function drawCurves(about, row, numSteps) {
  const curves = { base: row?.base?.curve ?? [], steered: row?.steered?.curve ?? [] };
  const plots = about.dimensions.map((name) => {
    const lines = Object.entries(curves).map(([kind, curve]) => ({ kind, points: curve.map(({ step, scores }) => ({ step, value: scores[name] })) }));
    const last = lines.map(({ kind, points }) => `${kind} ${number(points.at(-1)?.value)}`).join(", ");
    return html("figure", {}, html("figcaption", { textContent: name }), lineChart(lines, numSteps, `${name}: ${last}`));
  });
  $("curve-plots").replaceChildren(...plots);
  $("curves").hidden = !curves.base.length && !curves.steered.length;
}
