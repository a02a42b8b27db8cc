/* The studio: reads the settings, asks for clips, shows them beside those of the model as it is, and follows jobs. */

import { ask, Refused, Store } from "./asking.js";
import { Controls } from "./controls.js";
import { html } from "./drawing.js";
import { SettingsForm } from "./form.js";
import { fillAxes, GridPlots } from "./grid.js";
import { Jobs } from "./jobs.js";
import { obeyKeys, showKeys } from "./keys.js";
import { keyGroups } from "./keymap.js";
import { Players } from "./players.js";
import { drawCurves, drawScores } from "./scores.js";
import { View } from "./wipe.js";

const LOOK_AFTER = 60; // milliseconds after the last move of a slider
const $ = (id) => document.getElementById(id);

const about = await ask("/api/about").catch((problem) => warn(sentence(problem)));
const store = new Store("studio");
const players = new Players([...document.querySelectorAll(".frame")]);
const view = new View($("stage"));
const controls = new Controls(view, store);
const form = new SettingsForm(about);
const plots = new GridPlots();
const jobs = new Jobs({ changed: follow, failed: (problem) => warn(sentence(problem)) });

let comparison = null; // what is on show
let seedShown = 0; // its place among the seeds
let urlsShown = "";
let timer = 0;
let turn = 0; // of the last look: what answers an older one is thrown away
let jobTurn = -1; // of the look that began the comparison on its way

/* Messages */

function tell(text) {
  $("status").textContent = text;
}

function warn(text) {
  $("alert-text").textContent = text;
  $("alert").hidden = false;
}

function hush() {
  $("alert").hidden = true;
}

function sentence({ message }) {
  return message.charAt(0).toUpperCase() + message.slice(1).replace(/\.?$/, ".");
}

/* Asking */

/** Looks whether the clips of these settings are there, and shows them; with `make` they are made otherwise. */
async function look(make) {
  clearTimeout(timer);
  ready("");
  const mine = ++turn;
  if (form.fault) return outdated(form.fault);
  try {
    const answer = await ask("/api/compare", { ...form.settings, make });
    if (mine !== turn) return;
    hush();
    if (answer.comparison.is_whole) show(answer.comparison);
    else missing(answer);
    if (answer.job) {
      jobTurn = mine;
      jobs.take(answer.job);
    }
  } catch (problem) {
    if (mine === turn) explain(problem, make);
  }
}

function explain(problem, wasAsked) {
  if (wasAsked || !(problem instanceof Refused)) warn(sentence(problem));
  outdated(sentence(problem));
}

/** What is on show is not of the settings. */
function outdated(text) {
  $("studio").classList.add("stale");
  ready(text);
}

function missing({ comparison: found, job }) {
  const num = found.rows.flatMap(({ base, steered }) => [base, steered]).filter((clip) => !clip).length;
  outdated(job ? "" : `${num} ${num === 1 ? "clip is" : "clips are"} not made yet.`);
}

function ready(text) {
  $("ready").textContent = text;
}

async function make() {
  ready("");
  await jobs.cancel("comparison");
  await look(true);
}

/* Showing */

/** Puts a comparison on show, as far as it is there. */
function show(found) {
  comparison = found;
  const places = found.rows.map((row, k) => (row.base && row.steered ? k : -1)).filter((k) => k >= 0);
  if (!places.includes(seedShown)) seedShown = places[0] ?? 0;
  if (found.is_whole) ready("These clips are there.");
  drawSeeds();
  showRow();
}

function showRow() {
  const row = comparison.rows[seedShown];
  if (!row?.base || !row.steered) return;
  $("studio").classList.remove("stale");
  $("empty").hidden = true;
  $("preview").hidden = true;
  const urls = `${row.base.url} ${row.steered.url}`;
  if (urls !== urlsShown) {
    urlsShown = urls;
    const clips = [row.base, row.steered].map((clip) => ({ ...clip, url: clip.url }));
    const { clock } = controls;
    const [wasPlaying, time] = [clock ? clock.playing : true, clock ? clock.time : 0];
    const next = controls.attach(players.show(clips));
    next.seek(time);
    if (wasPlaying) next.play();
    next.addEventListener("broken", () => (urlsShown = ""));
  }
  $("studio").style.setProperty("--aspect", row.base.width / row.base.height);
  drawScores(about, comparison, row);
  drawCurves(about, row, row.steered.recipe.num_steps ?? about.num_steps);
  plots.mark(row.steered.recipe.weights);
  $("again").hidden = false;
  $("command").textContent = row.steered.command;
  $("python").textContent = row.steered.python;
  $("save").href = row.steered.url;
  $("save").download = `steered-${row.seed}.mp4`;
}

function drawSeeds() {
  const buttons = comparison.rows.map(({ seed, base, steered }, k) => {
    const button = html("button", { type: "button", className: "quiet", textContent: `Seed ${seed}`, disabled: !(base && steered) });
    button.setAttribute("aria-pressed", k === seedShown);
    button.addEventListener("click", () => showSeed(k));
    return button;
  });
  $("seeds-shown").replaceChildren(...(buttons.length > 1 ? buttons : []));
}

function showSeed(place) {
  const row = comparison?.rows[place];
  if (!row?.base || !row.steered) return;
  seedShown = place;
  drawSeeds();
  showRow();
  tell(`Seed ${row.seed}`);
}

/* Jobs */

/** A job has come along. */
function follow(job) {
  if (job.grid) {
    plots.show(job.grid);
    $("sheet").href = `/api/jobs/${job.id}/grid.mp4`;
    $("sheet").hidden = !(job.grid.points.length && job.state !== "running" && job.state !== "waiting");
    $("plots").hidden = false;
  } else if (jobTurn === turn && job.comparison.rows.some(({ base, steered }) => base && steered)) {
    show(job.comparison);
  }
  if (job.state === "failed") warn(sentence({ message: job.error }));
  if (job.state === "done") tell(job.grid ? "The grid is made." : "The clips are made.");
  if (job.state === "cancelled" && !job.grid) ready("Cancelled.");
  drawPreview(job);
}

/** While the first clips are made: what there is of them, and how the guide's scores rise. */
function drawPreview(job) {
  if (job.grid || jobTurn !== turn || job.state !== "running" || job.comparison.rows.some(({ base, steered }) => base && steered)) {
    $("preview").hidden = true;
    return;
  }
  const { recipe, curve, of } = job.now;
  const isBase = recipe.method === "none" && recipe.adapter === null;
  const base = isBase ? { curve } : job.comparison.rows[0].base;
  drawCurves(about, { base, steered: isBase ? null : { curve } }, of || about.num_steps);
  const address = `/api/jobs/${job.id}/preview.mp4?n=${job.preview}`;
  if (job.preview && $("preview-video").getAttribute("src") !== address) $("preview-video").setAttribute("src", address);
  $("preview").hidden = !job.preview;
}

async function makeGrid() {
  if (about.dimensions.length < 2) return;
  if (form.fault) return warn(form.fault);
  const axes = [$("axis-x").value, $("axis-y").value];
  if (axes[0] === axes[1]) return warn("A grid needs two different dimensions: choose another one across or up.");
  const { settings } = form;
  try {
    await jobs.cancel("grid");
    hush();
    if (settings.method === "none") settings.method = about.methods[0].name;
    const asked = { ...settings, axes, num_points: Number($("points").value) };
    jobs.take((await ask("/api/grid", asked)).job);
  } catch (problem) {
    warn(sentence(problem));
  }
}

/** Opens a point of the grid: its clips are there, so nothing is made. */
function openPoint({ detail }) {
  form.restore({ ...detail, seed: detail.seeds.join(", ") });
  look(false);
}

/* Files */

async function openFile(file) {
  if (!file) return;
  try {
    const { recipe, notes } = await ask("/api/dropped", file);
    hush();
    form.restore(recipe);
    if (notes.length) warn(`The sliders are back, but this clip was not made as it would be now: ${notes.join("; ")}.`);
    tell("The sliders are back.");
    await look(false);
  } catch (problem) {
    warn(sentence(problem));
  }
}

function listenForFiles() {
  const hasFile = ({ dataTransfer }) => [...(dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragover", (event) => {
    if (!hasFile(event)) return;
    event.preventDefault();
    $("drop").hidden = false;
  });
  addEventListener("dragleave", (event) => ($("drop").hidden ||= event.relatedTarget === null));
  addEventListener("drop", (event) => {
    $("drop").hidden = true;
    if (!hasFile(event)) return;
    event.preventDefault();
    openFile(event.dataTransfer.files[0]);
  });
  $("file").addEventListener("change", () => {
    openFile($("file").files[0]);
    $("file").value = "";
  });
}

async function copy(id, button) {
  try {
    await navigator.clipboard.writeText($(id).textContent);
    tell("Copied.");
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren($(id));
  }
}

/* Beginning */

async function begin() {
  const steered = about.guide ? `guide ${about.guide}` : "no guide";
  $("opened").textContent = `${about.model} · ${steered} · ${about.judge ? `judged by ${about.judge}` : "no judge"}`;
  $("opened").title = $("opened").textContent;
  $("stage").append($("preview"));
  $("grid").hidden = about.dimensions.length < 2;
  $("points").max = about.limits.max_points;
  fillAxes(about.dimensions);
  $("live").checked = store.get("live") ?? false;
  $("live").addEventListener("change", () => store.set("live", $("live").checked));
  form.addEventListener("change", () => {
    turn++;
    ready("");
    clearTimeout(timer);
    timer = setTimeout(() => look(false), LOOK_AFTER);
  });
  form.addEventListener("settled", () => $("live").checked && make());
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    make();
  });
  $("prompt").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.ctrlKey || event.metaKey || event.isComposing) return;
    event.preventDefault();
    make();
  });
  $("cancel").addEventListener("click", () => jobs.cancel());
  $("make-grid").addEventListener("click", makeGrid);
  plots.addEventListener("open", openPoint);
  $("alert-close").addEventListener("click", hush);
  $("copy-command").addEventListener("click", ({ target }) => copy("command", target));
  $("copy-python").addEventListener("click", ({ target }) => copy("python", target));
  document.querySelectorAll(".frame .reload").forEach((button, side) => button.addEventListener("click", () => players.reload(side)));
  listenForFiles();
  const help = () => $("keys-dialog").showModal();
  $("help").addEventListener("click", help);
  const actions = {
    make, makeGrid, showSeed, help,
    cancel: () => jobs.cancel(),
    nextSlider: () => form.focusNext(),
    prompt: () => $("prompt").focus(),
    openFile: () => $("file").click(),
    copyCommand: () => copy("command", $("copy-command")),
    neighbour: (key) => plots.go(key),
  };
  const groups = keyGroups({ controls, view, actions });
  obeyKeys(groups, () => true);
  showKeys($("keys-table"), groups);
  await jobs.resume((settings) => {
    form.restore(settings);
    clearTimeout(timer);
    jobTurn = turn;
  });
  look(false);
}

if (about) begin();
