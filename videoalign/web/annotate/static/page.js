/* The rating page: asks for a pair, shows it, takes the judgement, and goes on to the next one. */

import { api, Outbox } from "./api.js";
import { Refused, Store } from "./asking.js";
import { Controls } from "./controls.js";
import { Drafts } from "./drafts.js";
import { fillGuideline } from "./guideline.js";
import { obeyKeys, showKeys } from "./keys.js";
import { keyGroups } from "./keymap.js";
import { Players } from "./players.js";
import { Reference } from "./reference.js";
import { plain } from "./text.js";
import { VerdictForm } from "./verdicts.js";
import { View } from "./wipe.js";

const PANELS = {
  done: ["All done", "There is no pair left for you. Thank you."],
  paused: ["A pause", "The programme is paused for you."],
};
/** Rounds whose verdicts are final. */
const ROUNDS = { qualification: "Qualification round", adjudication: "Adjudication: your verdict is final" };

const $ = (id) => document.getElementById(id);
const store = new Store($("pair").dataset.store);
const outbox = new Outbox(store);
const players = new Players([...document.querySelectorAll(".frame")]);
const form = new VerdictForm($("dimensions"), $("dimension"), $("comment"));
const reference = new Reference($("reference"), $("reference-dialog"), $("reference-large"));
const view = new View($("stage"));
const controls = new Controls(view, store);
const drafts = new Drafts(store, readDraft, (problem) => turnedDown("This pair is no longer yours.", problem));

let assignment = null;
let busy = false;
let shownAt = 0; // when the pair was shown, by the clock of this page

/* Messages */

function tell(text) {
  $("status").textContent = text;
}

/** A message that stays until it is hushed, with a button if something can be done about it. */
function warn(text, button = "", does = null) {
  $("alert-text").textContent = text;
  $("alert-button").textContent = button;
  $("alert-button").hidden = !button;
  $("alert-button").onclick = does;
  $("alert").hidden = false;
}

function hush() {
  $("alert").hidden = true;
}

/** The server's reason as a sentence. */
function sentence({ message }) {
  return message.charAt(0).toUpperCase() + message.slice(1).replace(/\.?$/, ".");
}

/* Pairs */

async function load() {
  await attempt(() => api.next(), show);
}

/** Asks the server for something once; what goes wrong is told, with a button to try again. */
async function attempt(asks, then) {
  if (busy) return;
  busy = true;
  $("submit").setAttribute("aria-disabled", "true");
  try {
    const answer = await asks();
    hush();
    busy = false;
    then(answer);
  } catch (problem) {
    busy = false;
    explain(problem, () => attempt(asks, then));
  }
  drawReady();
}

function explain(problem, again) {
  if (!(problem instanceof Refused)) {
    warn("The server does not answer. What you chose is kept on this computer.", "Try again", again);
  } else if (problem.status === 401) {
    warn("You are signed out. What you chose is kept on this computer: sign in with your link, then come back.");
  } else {
    warn(sentence(problem), assignment ? "" : "Try again", again);
  }
}

function show(next) {
  controls.detach();
  drafts.stop();
  assignment = next.assignment;
  drawProgress(next);
  $("pair").hidden = !assignment;
  $("panel").hidden = Boolean(assignment);
  document.body.classList.toggle("resting", !assignment);
  if (assignment) showPair(next);
  else showPanel(next);
}

function showPair({ state, message, upcoming }) {
  const { prompt, left, right, dimensions, said, ratings } = assignment;
  assignment.allow_undo &&= !(state in ROUNDS);
  $("prompt").textContent = prompt;
  reference.show(assignment.reference);
  $("round").textContent = message || ROUNDS[state] || "";
  $("round").hidden = !$("round").textContent;
  $("undo").hidden = !assignment.allow_undo;
  $("rate-clips").hidden = ratings === false;
  $("pair").classList.toggle("tall", left.width < left.height * 1.15);
  $("pair").style.setProperty("--aspect", left.width / left.height);
  form.build(dimensions, said);
  const draft = drafts.begin(assignment);
  if (draft) form.restore(draft);
  view.reset();
  const clock = controls.attach(players.show([left, right]), draft?.seen ?? draft?.watched);
  clock.addEventListener("tick", drawReady);
  clock.addEventListener("tick", () => drafts.stir());
  clock.addEventListener("broken", ({ detail }) => showBroken(detail));
  clock.addEventListener("change", () => !clock.waiting && upcoming && players.prepare(Object.values(upcoming)));
  for (const box of document.querySelectorAll(".broken")) box.hidden = true;
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches && !document.hidden) clock.play();
  tell(`${$("count").textContent}. Prompt: ${prompt}`);
  shownAt = performance.now();
  setTimeout(drawReady, 1000 * assignment.seconds_to_wait + 50);
  drawReady();
}

function showPanel({ state, message, progress, completion }) {
  players.clear();
  $("panel-undo").hidden = state === "paused" || !progress.done || $("pair").dataset.role === "adjudicator";
  const [title, text] = PANELS[state] ?? ["No pair just now", "Other raters are at work on the pairs that are left."];
  $("panel-title").textContent = title;
  $("panel-text").textContent = message || text;
  $("panel-done").hidden = !completion;
  $("panel-code").textContent = completion?.code ?? "";
  $("panel-link").hidden = !completion?.url;
  if (completion?.url) $("panel-link").href = completion.url;
  tell(`${title}. ${$("panel-text").textContent}${completion ? ` Your code is ${completion.code}.` : ""}`);
}

function showBroken(side) {
  document.querySelectorAll(".broken")[side].hidden = false;
  warn(`Clip ${"AB"[side]} cannot be played. Try it again, or skip the pair and say so.`, "Skip", askSkip);
}

function drawProgress({ progress }) {
  $("progress").max = Math.max(progress.total, 1);
  $("progress").value = progress.done;
  $("count").textContent = `${progress.done} of ${progress.total} judged`;
}

/* Judgement */

function readDraft() {
  return { ...form.value, seen: controls.clock?.seen ?? [] };
}

/** Seconds that are still to be watched of the clip that was watched least, or to wait by the server's clock. */
function leftToWatch() {
  const { watched } = controls.clock;
  const left = [assignment.left, assignment.right].map(
    ({ watch_seconds, fps, num_frames }, side) => Math.min(watch_seconds, (num_frames - 0.5) / fps) - watched[side],
  );
  return Math.max(0, ...left, assignment.seconds_to_wait - (performance.now() - shownAt) / 1000);
}

/** What keeps the judgement from being submitted; empty if nothing does. */
function obstacle() {
  const { missing } = form;
  const seconds = leftToWatch();
  if (missing.length) return `No verdict yet: ${missing.join(", ")}`;
  if (seconds > 0) return `Watch both clips for ${seconds.toFixed(1)} s more`;
  return "";
}

function drawReady() {
  if (!assignment || !controls.clock) return;
  const why = obstacle();
  $("ready").textContent = busy ? "Sending…" : why || "Ready to submit";
  $("submit").setAttribute("aria-disabled", Boolean(why) || busy);
  $("dimensions").inert = $("comment").inert = busy;
}

function judge(verdict) {
  if (!busy) tell(form.judge(verdict));
}

function clearVerdict() {
  if (!busy) tell(form.clear());
}

async function submit() {
  if (busy || !assignment) return;
  const why = obstacle();
  if (why) {
    form.showMissing();
    $("ready").classList.remove("asked");
    requestAnimationFrame(() => $("ready").classList.add("asked"));
    return tell(`${why}.`);
  }
  const [left, right] = controls.clock.watched;
  controls.clock.pause();
  await send({ assignment: assignment.id, ...form.value, watched_seconds: { left, right } });
}

async function send(judgement) {
  busy = true;
  drawReady();
  try {
    const { next } = await outbox.send(judgement, (seconds) =>
      warn(
        `No connection. Your judgement is kept on this computer and is sent again in ${seconds} s.`,
        "Send now",
        () => outbox.hurry(),
      ),
    );
    hush();
    drafts.finish(judgement.assignment);
    busy = false;
    show(next);
  } catch (problem) {
    busy = false;
    if (problem instanceof Refused && assignment?.id !== judgement.assignment && problem.status !== 401) {
      await load();
    }
    turnedDown("The judgement was not taken.", problem);
    drawReady();
  }
}

function turnedDown(what, problem) {
  if (problem.status === 401) return explain(problem);
  warn(`${what} ${sentence(problem)}`, "Next pair", load);
}

function undo() {
  attempt(api.undo, ({ next }) => show(next));
}

/* Skip, guideline, keys */

function askSkip() {
  if (!assignment || busy) return;
  $("skip-note").value = "";
  $("skip-dialog").returnValue = "";
  $("skip-dialog").showModal();
}

$("skip-dialog").addEventListener("close", () => {
  if ($("skip-dialog").returnValue !== "skip") return;
  const chosen = new FormData($("skip-form")).get("reason");
  const note = plain($("skip-note").value);
  const { id } = assignment;
  attempt(
    () => api.skip(id, note ? `${chosen}: ${note}` : chosen),
    ({ next }) => {
      drafts.finish(id);
      show(next);
    },
  );
});

function openGuideline() {
  $("guideline-dialog").showModal();
  fillGuideline($("guideline-text"), assignment?.dimensions ?? []);
}

function rateClips() {
  const shown = !$("rate-clips").hidden && $("rate-clips").getAttribute("aria-pressed") !== "true";
  $("rate-clips").setAttribute("aria-pressed", shown);
  form.showRatings(shown);
  store.set("ratings", shown);
}

const actions = {
  judge,
  clearVerdict,
  tell,
  submit,
  undo: () => assignment?.allow_undo && undo(),
  skip: askSkip,
  comment: () => $("comment").focus(),
  rateClips,
  guideline: openGuideline,
  reference: () => reference.open(),
  help: () => $("keys-dialog").showModal(),
};
const groups = keyGroups({ controls, view, form, actions });
showKeys($("keys-table"), groups);
$("keys-on").checked = store.get("keys") ?? true;
$("keys-on").addEventListener("change", ({ target }) => store.set("keys", target.checked));
obeyKeys(groups, () => $("keys-on").checked && assignment !== null);

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
$("form").addEventListener("input", () => drafts.changed());
$("form").addEventListener("change", () => {
  drafts.changed();
  drawReady();
});
for (const [id, does] of [
  ["skip", askSkip],
  ["undo", undo],
  ["panel-undo", undo],
  ["panel-again", load],
  ["guideline", openGuideline],
  ["help", actions.help],
  ["rate-clips", rateClips],
]) {
  $(id).addEventListener("click", does);
}
document.querySelectorAll(".reload").forEach((button, side) => {
  button.addEventListener("click", () => {
    document.querySelectorAll(".broken")[side].hidden = true;
    hush();
    players.reload(side);
  });
});
for (const name of ["pointerdown", "pointermove", "keydown", "wheel"]) {
  addEventListener(name, () => drafts.stir(), { passive: true });
}
document.addEventListener("visibilitychange", () => document.hidden && controls.clock?.pause());

/* Begin: first what was not sent when the page was left, then the pair. */
if (store.get("ratings")) rateClips();
if (outbox.waiting) await send(outbox.waiting);
else await load();
