// A second model on the same boxes: its points, and how far they are from the first one's.

import { isCorrected } from "./album.js";
import * as api from "./api.js";
import { fillFacts, pointRow } from "./panels.js";

const $ = (id) => document.getElementById(id);

export class Compare {
  model = null;
  #sort = "index";
  #wanted = null;

  /** hand: select(index), changed(), failed(error), ruleFor(model, crop). */
  constructor(hand) {
    this.hand = hand;
    for (const button of $("compare-table").tHead.querySelectorAll("button")) {
      button.addEventListener("click", () => {
        this.#sort = button.dataset.sort;
        hand.changed();
      });
    }
  }

  /** The other model's face for the current one, or null while there is none. */
  other(photo, flip) {
    const face = photo?.face;
    if (!this.model || !face) return null;
    return photo.others.get(this.#key(face, flip))?.face ?? null;
  }

  #key = (face, flip) => JSON.stringify([this.model, face.box, face.crop, flip]);

  /** Ask for what is missing. */
  async fetch(photo, flip) {
    const face = photo?.face;
    if (!this.model || !face) return;
    const key = this.#key(face, flip);
    this.#wanted = key;
    if (photo.others.has(key)) return;
    photo.others.set(key, {});
    try {
      const crop = this.hand.ruleFor(this.model, face.crop);
      const told = await api.predict(photo.file, { model: this.model, boxes: [face.box], crop, flip });
      photo.others.set(key, { face: told.faces[0] });
    } catch (error) {
      photo.others.delete(key);
      this.hand.failed(error);
      return;
    }
    if (this.#wanted === key) this.hand.changed();
  }

  update(scene) {
    $("compare").hidden = !this.model;
    const face = scene.faces[scene.current];
    const { other } = scene;
    const body = $("compare-table").tBodies[0];
    const alike = face && other && face.landmarks.length === other.landmarks.length;
    $("compare-table").hidden = !alike;
    if (!face || !other) return fillFacts($("compare-facts"), []);
    if (!alike) {
      const counts = `${face.landmarks.length} and ${other.landmarks.length}`;
      return fillFacts($("compare-facts"), [["Points", `${counts}: no point has a partner to be compared with`]]);
    }
    const rows = distances(face.landmarks, other.landmarks);
    this.#summarise(rows, face);
    if (this.#sort === "distance") rows.sort((one, two) => two.distance - one.distance);
    for (const button of $("compare-table").tHead.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", button.dataset.sort === this.#sort);
    }
    body.replaceChildren(...rows.map((row) => this.#row(row, scene, rows)));
  }

  #summarise(rows, face) {
    const mean = rows.reduce((sum, { distance }) => sum + distance, 0) / rows.length;
    const most = rows.reduce((one, two) => (two.distance > one.distance ? two : one));
    const xs = face.landmarks.map(([x]) => x);
    const ys = face.landmarks.map(([, y]) => y);
    const size = Math.sqrt((Math.max(...xs) - Math.min(...xs)) * (Math.max(...ys) - Math.min(...ys)));
    fillFacts($("compare-facts"), [
      ["Mean distance", `${mean.toFixed(2)} px (${((100 * mean) / size).toFixed(2)} % of the face)`],
      ["Largest", `${most.distance.toFixed(2)} px at point ${most.index}`],
      ...(isCorrected(face) ? [["Measured from", "your corrected points"]] : []),
    ]);
  }

  #row({ index, distance, dx, dy }, scene, rows) {
    const row = pointRow(index, scene.markup?.points[index] ?? "", (chosen) => this.hand.select(chosen));
    const most = Math.max(...rows.map((one) => one.distance), 1e-9);
    [distance, dx, dy].forEach((value, i) => (row.cells[i + 1].textContent = value.toFixed(2)));
    row.cells[1].classList.add("level");
    row.cells[1].style.setProperty("--share", distance / most);
    row.setAttribute("aria-selected", index === scene.selected);
    return row;
  }
}

/** Of each pair of points: {index, distance, dx, dy} in px, from the first to the second. */
export function distances(first, second) {
  return first.map(([x, y], index) => {
    const [dx, dy] = [second[index][0] - x, second[index][1] - y];
    return { index, distance: Math.hypot(dx, dy), dx, dy };
  });
}
