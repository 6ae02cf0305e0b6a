// Everything that is drawn over a photo. `scene`:
// {bitmap, width, height, faces, current, selected, markup, options, visible, heat, other, rubber}

import { isMoved } from "./album.js";
import { BLUE, GOLD, scoreColour } from "./colour.js";

const RIM = "rgb(16 16 16 / .75)";
const DENSE = 60; // a face of fewer points gets larger dots

/** Half of the dots' width in CSS px, for a face as large as it is on the screen. */
export function dotRadius(face, scale) {
  const xs = face.landmarks.map(([x]) => x);
  const width = (Math.max(...xs) - Math.min(...xs)) * scale;
  const sparse = Math.min(Math.max(Math.sqrt(DENSE / face.landmarks.length), 1), 1.8);
  return Math.min(Math.max(width / 85, 1.7), 4.5) * sparse;
}

export function paint(context, view, scene, width, height) {
  context.clearRect(0, 0, width, height);
  if (!scene?.bitmap) return;
  context.imageSmoothingEnabled = view.scale < 3; // from there on pixels are shown as they are
  context.drawImage(scene.bitmap, view.x, view.y, scene.width * view.scale, scene.height * view.scale);
  if (scene.heat) paintHeat(context, view, scene.heat);
  scene.faces.forEach((face, i) => {
    if (i !== scene.current) paintFace(context, view, face, { ...scene, selected: null, faint: true });
  });
  const face = scene.faces[scene.current];
  if (face) {
    if (scene.options.boxes) paintBoxes(context, view, face);
    if (scene.other) paintPair(context, view, face, scene);
    paintFace(context, view, face, scene);
  }
  if (scene.rubber) paintBox(context, view, scene.rubber, "#fff", [6, 4]);
}

/** One face's lines, ellipses, dots and numbers. */
export function paintFace(context, view, face, scene) {
  const { markup, options, visible, faint, colour } = scene;
  const places = face.landmarks.map((point) => view.toScreen(point));
  const radius = dotRadius(face, view.scale) * (faint ? 0.8 : 1);
  context.globalAlpha = faint ? 0.55 : 1;
  if (options.lines && markup) paintLines(context, places, markup.edges, visible, colour ?? GOLD, radius);
  if (options.ellipses && face.covariances && !faint) paintEllipses(context, view, face, places, visible);
  places.forEach((place, i) => {
    if (!visible.has(i) || (!options.points && i !== scene.selected)) return;
    const own = options.scores && face.scores && !colour && !scene.other && !isMoved(face, i) ? scoreColour(face.scores[i]) : (colour ?? GOLD);
    dot(context, place, radius, own, !colour && isMoved(face, i));
  });
  if (options.numbers && !faint) paintNumbers(context, places, visible, radius);
  context.globalAlpha = 1;
  if (scene.selected !== null && places[scene.selected]) cross(context, places[scene.selected], radius);
}

function paintLines(context, places, edges, visible, colour, radius) {
  context.strokeStyle = colour;
  context.globalAlpha *= 0.6;
  context.lineWidth = Math.max(1, radius * 0.45);
  context.beginPath();
  for (const [from, to] of edges) {
    if (!visible.has(from) || !visible.has(to)) continue;
    context.moveTo(...places[from]);
    context.lineTo(...places[to]);
  }
  context.stroke();
  context.globalAlpha /= 0.6;
}

function dot(context, [x, y], radius, colour, moved) {
  context.fillStyle = colour;
  context.strokeStyle = moved ? "#fff" : RIM;
  context.lineWidth = moved ? 1.6 : 1;
  context.beginPath();
  if (moved) context.rect(x - radius, y - radius, 2 * radius, 2 * radius); // a corrected point is a square
  else context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
  context.stroke();
}

function cross(context, [x, y], radius) {
  const [near, far] = [radius + 3, radius + 9];
  for (const [colour, width] of [["rgb(0 0 0 / .7)", 3.5], ["#fff", 1.5]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    context.arc(x, y, near, 0, 2 * Math.PI);
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + dx * near, y + dy * near);
      context.lineTo(x + dx * far, y + dy * far);
    }
    context.stroke();
  }
}

function paintEllipses(context, view, face, places, visible) {
  context.strokeStyle = "rgb(255 255 255 / .85)";
  context.lineWidth = 1;
  face.covariances.forEach(([[a, b], [, d]], i) => {
    if (!visible.has(i) || isMoved(face, i)) return; // it tells of the network's answer, not of a correction
    const [mean, gap] = [(a + d) / 2, Math.hypot((a - d) / 2, b)];
    const angle = Math.atan2(2 * b, a - d) / 2;
    const radii = [mean + gap, mean - gap].map((value) => Math.sqrt(Math.max(value, 0)) * view.scale);
    context.beginPath();
    context.ellipse(...places[i], ...radii, angle, 0, 2 * Math.PI);
    context.stroke();
  });
}

function paintNumbers(context, places, visible, radius) {
  context.font = "600 11px system-ui, sans-serif";
  context.textAlign = "left";
  context.lineWidth = 3;
  context.lineJoin = "round";
  context.strokeStyle = "rgb(0 0 0 / .7)";
  context.fillStyle = "#fff";
  places.forEach(([x, y], i) => {
    if (!visible.has(i)) return;
    context.strokeText(i, x + radius + 2, y - radius);
    context.fillText(i, x + radius + 2, y - radius);
  });
}

function paintBoxes(context, view, face) {
  paintBox(context, view, face.box, "#fff", []);
  if (face.square) {
    const [x, y, side] = face.square;
    paintBox(context, view, [x - side / 2, y - side / 2, x + side / 2, y + side / 2], "rgb(255 255 255 / .7)", [5, 5]);
  }
  for (const corner of corners(face.box)) {
    const [x, y] = view.toScreen(corner);
    context.fillStyle = "#fff";
    context.strokeStyle = RIM;
    context.lineWidth = 1;
    context.fillRect(x - 4, y - 4, 8, 8);
    context.strokeRect(x - 4, y - 4, 8, 8);
  }
}

/** In the order of the box's own numbers: [x index, y index] of corner i is [2 * (i % 2), 1 + 2 * (i >> 1)]. */
export const corners = ([left, top, right, bottom]) => [[left, top], [right, top], [left, bottom], [right, bottom]];

function paintBox(context, view, [left, top, right, bottom], colour, dash) {
  const [x, y] = view.toScreen([left, top]);
  const size = [(right - left) * view.scale, (bottom - top) * view.scale];
  for (const [stroke, width] of [["rgb(0 0 0 / .5)", 3], [colour, 1.5]]) {
    context.strokeStyle = stroke;
    context.lineWidth = width;
    context.setLineDash(dash);
    context.strokeRect(x, y, ...size);
  }
  context.setLineDash([]);
}

function paintHeat(context, view, { canvas, square: [x, y, side] }) {
  const [left, top] = view.toScreen([x - side / 2, y - side / 2]);
  context.imageSmoothingEnabled = true;
  context.drawImage(canvas, left, top, side * view.scale, side * view.scale);
}

/** The other model's face below, and a line from each of its points to ours. */
function paintPair(context, view, face, scene) {
  if (scene.other.landmarks.length === face.landmarks.length) {
    context.strokeStyle = "#fff";
    context.lineWidth = 1;
    context.beginPath();
    face.landmarks.forEach((point, i) => {
      if (!scene.visible.has(i)) return;
      context.moveTo(...view.toScreen(point));
      context.lineTo(...view.toScreen(scene.other.landmarks[i]));
    });
    context.stroke();
  }
  paintFace(context, view, scene.other, otherScene(scene));
}

/** The scene with the other model's face alone. */
export const otherScene = (scene) => ({
  ...scene, colour: BLUE, markup: scene.otherMarkup, selected: null, visible: scene.otherVisible,
});
