// The page: one state, one `refresh` that shows it, and what each part of the page does to it.

import { isMoved } from "./album.js";
import * as api from "./api.js";
import { Camera } from "./camera.js";
import { Compare } from "./compare.js";
import { Insight } from "./insight.js";
import { listen } from "./keys.js";
import { Panels } from "./panels.js";
import { Shelf } from "./shelf.js";
import { Stage } from "./stage.js";
import { Work } from "./work.js";

const $ = (id) => document.getElementById(id);
const options = { points: true, lines: true, numbers: false, ellipses: false, boxes: true, scores: true, flip: false };
const hidden = new Set(); // points that are not shown, of the mark-up whose name is hiddenOf
let hiddenOf = null;
let selected = null;
let trial = null; // what is being dragged: {index, point}, {box} or {rubber}

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

const info = await api.models().catch((error) => {
  $("detector-note").textContent = error.message;
  throw error;
});
const work = new Work(info, { refresh, say, arrived });
const stage = new Stage($("stage"), $("stage-other"), $("loupe"), {
  moved,
  select: (index) => select(index, false),
  drag: (index, point) => attempt({ index, point }),
  reshape: (box, own) => attempt(own ? { box } : { rubber: box }),
  cancelled: () => attempt(null),
  drawn(box) {
    attempt(null);
    setBoxMode(false);
    selected = null;
    work.addFace(box);
  },
  reshaped(box) {
    work.again(box).then(() => attempt(null));
  },
  face: chooseFace,
}, () => scene);
const insight = new Insight({ select, changed: refresh });
const compare = new Compare({
  select, changed: refresh, failed: (error) => say(error.message, true), ruleFor: (model, crop) => work.ruleFor(model, crop),
});
const panels = new Panels({ select, show, part, place: moved, reset });
const shelf = new Shelf({ choosePhoto: (photo) => choosePhoto(photo), chooseFace });
const camera = new Camera({
  settings: () => ({
    model: work.model, markup: work.markupOf(null), detector: info.detector, options, flip: options.flip, visible: seen(null),
    follows: info.models.find(({ name }) => name === work.model).crops.includes("landmarks"),
  }),
  captured: (file, box) => work.open([file], box),
  failed: (error) => say(error.message, true),
  closed: refresh,
});
let scene = describe();

/** Everything that is on the screen, for those who draw it. */
function describe() {
  const { photo } = work;
  let faces = photo?.faces ?? [];
  const current = photo?.current ?? 0;
  const face = faces[current];
  if (face && trial && !trial.rubber) {
    const change = trial.box ? { box: trial.box, square: null } : { landmarks: face.landmarks.map((own, i) => (i === trial.index ? trial.point : own)) };
    faces = faces.map((own, i) => (i === current ? { ...own, ...change } : own));
  }
  if (!face || selected >= face.landmarks.length) selected = null;
  const other = compare.other(photo, options.flip);
  const markup = work.markupOf(face);
  if (markup && markup.name !== hiddenOf) {
    hidden.clear();
    hiddenOf = markup.name;
  }
  return {
    photo, bitmap: photo?.bitmap, width: photo?.width, height: photo?.height, faces, current, selected, options, markup,
    visible: seen(face), other, otherMarkup: other && work.markupOf({ ...other, model: compare.model }), otherVisible: other && seen(other, face),
    heat: insight.onPhoto, rubber: trial?.rubber, dragging: Boolean(trial), parts: partStates(markup),
  };
}

/** The points that are shown of a face; another model's face of as many points follows the first one's parts. */
function seen(face, like = face) {
  const count = face?.landmarks.length ?? work.markupOf(null)?.points.length ?? 0;
  const follows = !like || !face || like.landmarks.length === count;
  return new Set(Array.from({ length: count }, (_, i) => i).filter((i) => !follows || !hidden.has(i)));
}

function partStates(markup) {
  const states = {};
  for (const [name, points] of Object.entries(markup?.parts ?? {})) {
    const count = points.filter((point) => !hidden.has(point)).length;
    states[name] = count === points.length ? "true" : count ? "mixed" : "false";
  }
  return states;
}

function refresh() {
  const { photo } = work;
  scene = describe();
  stage.redraw();
  panels.update(scene);
  insight.update(scene);
  scene.heat = insight.onPhoto;
  compare.update(scene);
  if (!trial) compare.fetch(photo, options.flip);
  shelf.update(work);
  $("main").classList.toggle("is-empty", !photo && !camera.on);
  $("main").classList.toggle("is-split", stage.split);
  $("empty").hidden = Boolean(photo) || camera.on;
  $("busy").hidden = !photo || !(photo.state === "busy" || photo.asking);
  $("undo").disabled = !photo?.past.length;
  $("redo").disabled = !photo?.future.length;
  for (const name of ["save", "again", "drop"]) $(name).disabled = !photo?.face;
  for (const name of ["box", "whole", "load", "zoom-in", "zoom-out", "zoom-fit"]) $(name).disabled = !photo?.bitmap;
  $("names").hidden = !compare.model || !photo;
  [$("names").children[0].textContent, $("names").children[1].textContent] = [work.model, compare.model ?? ""];
  $("split").setAttribute("aria-pressed", stage.split);
  document.title = photo ? `${work.photos.some(({ dirty }) => dirty) ? "• " : ""}${photo.name} - fanlight` : "fanlight";
}

/** A photo is there: show all of it. */
function arrived() {
  refresh();
  stage.showAll();
}

function attempt(what) {
  trial = what;
  scene = describe();
  stage.redraw();
  if (trial?.point) panels.update(scene);
  else refresh();
}

function select(index, reveal = true) {
  selected = index;
  if (index !== null) {
    hidden.delete(index);
    if (reveal) stage.reveal(work.photo.face.landmarks[index]);
  }
  refresh();
}

function moved(index, point, tag) {
  trial = null;
  work.photo.movePoint(index, point, tag);
  work.changed();
}

function reset(index) {
  const { face } = work.photo;
  if (isMoved(face, index)) moved(index, (face.predicted ?? face.original)[index]);
}

function show(name) {
  options[name] = !options[name];
  if (name === "flip") {
    work.flip = options.flip;
    work.renew();
  }
  refresh();
}

function part(name) {
  const points = scene.markup.parts[name];
  const all = points.every((point) => !hidden.has(point));
  for (const point of points) hidden[all ? "add" : "delete"](point);
  refresh();
}

function chooseFace(index) {
  work.photo.current = index;
  selected = null;
  refresh();
}

async function choosePhoto(photo) {
  selected = null;
  stage.cancel();
  say("");
  await work.show(photo);
}

function setBoxMode(on) {
  stage.setMode(on ? "box" : "move");
  $("box").setAttribute("aria-pressed", on);
  if (on) say("Drag a box around the face, from the brows to the chin and from ear to ear.");
}

function history(step) {
  if (!work.photo?.[step]()) return;
  work.changed();
}

function step(by, leave = false) {
  const count = work.photo?.face?.landmarks.length;
  if (!count || (leave && selected === null)) return false;
  const next = selected === null ? (by > 0 ? 0 : count - 1) : selected + by;
  if (leave && (next < 0 || next >= count)) return false; // Tab goes on to what follows the photo
  select((next + count) % count);
  return true;
}

function nudge(dx, dy) {
  if (selected === null || !work.photo?.face) return false;
  const [x, y] = work.photo.face.landmarks[selected];
  moved(selected, [x + dx, y + dy], `nudge ${work.photo.face.key} ${selected}`);
  stage.reveal(work.photo.face.landmarks[selected]);
  return true;
}

function escape() {
  if (stage.cancel()) return;
  if (stage.mode === "box") setBoxMode(false);
  else select(null);
}

const nextFace = () => work.photo?.faces.length && chooseFace((work.photo.current + 1) % work.photo.faces.length);
const nextPhoto = (by) => {
  const next = work.photos[work.photos.indexOf(work.photo) + by];
  return next ? choosePhoto(next) : false;
};

function choose(select, names, empty) {
  const entry = (name) => new Option(name, name);
  select.replaceChildren(...(empty ? [new Option(empty, "")] : []), ...names.map(entry));
}

function offerOthers() {
  const names = info.models.map(({ name }) => name).filter((name) => name !== work.model);
  if (compare.model === work.model) compare.model = null;
  choose($("other"), names, "nothing");
  $("other").value = compare.model ?? "";
  $("other-pick").hidden = !names.length;
  if (!compare.model) stage.split = false;
}

async function startCamera() {
  try {
    await camera.start();
    refresh();
  } catch (error) {
    say(error.message, true);
    if (!work.photo) $("detector-note").textContent = error.message;
  }
}

const press = (id, action) => $(id).addEventListener("click", action);
choose($("model"), info.models.map(({ name }) => name));
compare.model = info.compare;
offerOthers();
const local = /^(localhost|127\..*|\[::1\])$/.test(location.hostname);
$("detector-note").textContent = [
  local ? "Photos go to the fanlight serve behind this page, and nowhere else." : `Photos go to ${location.hostname}, which runs fanlight, and nowhere else.`,
  info.detector ? "" : "There is no face detector, so draw a box around each face.",
].join(" ");
$("model").addEventListener("change", () => {
  work.model = $("model").value;
  offerOthers();
  work.renew();
  refresh();
});
$("other").addEventListener("change", () => {
  compare.model = $("other").value || null;
  offerOthers();
  refresh();
});
press("split", () => {
  stage.split = !stage.split;
  refresh();
  requestAnimationFrame(() => stage.showAll());
});
for (const id of ["open", "open-2"]) press(id, () => $("files").click());
for (const id of ["camera-on", "camera-on-2"]) press(id, startCamera);
press("load", () => $("pts-file").click());
press("undo", () => history("undo"));
press("redo", () => history("redo"));
press("zoom-in", () => stage.zoom(1.4));
press("zoom-out", () => stage.zoom(1 / 1.4));
press("zoom-fit", () => stage.fit());
press("box", () => setBoxMode(stage.mode !== "box"));
press("whole", () => work.addFace("whole"));
press("again", () => work.again());
press("drop", () => work.dropFace());
press("save", () => work.save());
press("help-on", () => $("help").showModal());
listen($("stage"), {
  step, nudge, escape, show, nextFace, nextPhoto, save: () => work.save(), undo: () => history("undo"), redo: () => history("redo"),
  zoom: (factor) => stage.zoom(factor), fit: () => stage.fit(), box: () => work.photo && setBoxMode(stage.mode !== "box"),
  again: () => work.again(), dropFace: () => work.dropFace(), help: () => $("help").showModal(),
  heat: () => (insight.kind = insight.kind === "one" ? "sum" : "one"),
});
shelf.listen({ open: (files) => work.open(files), loadPts: (file) => work.loadPts(file) });
addEventListener("beforeunload", (event) => work.photos.some(({ dirty }) => dirty) && event.preventDefault());
globalThis.fanlight = { work, stage, compare, scene: () => scene }; // for the console
refresh();
document.documentElement.dataset.ready = "true";
