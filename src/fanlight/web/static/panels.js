// The panel beside the photo: facts, the chosen point, what is shown, parts, and the list of points.

import { isCorrected, isMoved } from "./album.js";
import { paintRamp, scoreColour } from "./colour.js";

const $ = (id) => document.getElementById(id);
const round = (value, digits = 1) => value.toFixed(digits);

/** A <tr> of text cells; the first one is a button that chooses the point. */
export function pointRow(index, name, choose) {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  const button = document.createElement("button");
  const number = document.createElement("small");
  head.scope = "row";
  button.type = "button";
  number.textContent = index;
  button.append(number, ` ${name}`);
  button.addEventListener("click", () => choose(index));
  head.append(button);
  row.append(head, ...[1, 2, 3].map(() => Object.assign(document.createElement("td"), { className: "num" })));
  return row;
}

/** Fill a <dl> with [term, value] pairs. */
export function fillFacts(list, pairs) {
  list.replaceChildren(
    ...pairs.flatMap(([term, value]) =>
      [["dt", term], ["dd", value]].map(([tag, text]) => Object.assign(document.createElement(tag), { textContent: text })),
    ),
  );
}

export class Panels {
  #rows = [];
  #listed = null;

  /** hand: select(index), show(name), part(name), place(index, point), reset(index). */
  constructor(hand) {
    this.hand = hand;
    paintRamp($("ramp"));
    for (const button of $("shows").children) button.addEventListener("click", () => hand.show(button.dataset.show));
    for (const input of [$("point-x"), $("point-y")]) {
      input.addEventListener("change", () => {
        const point = [$("point-x").valueAsNumber, $("point-y").valueAsNumber];
        if (point.every(Number.isFinite)) hand.place(this.index, point);
      });
    }
    $("point-back").addEventListener("click", () => hand.reset(this.index));
    $("point").addEventListener("submit", (event) => event.preventDefault());
  }

  /** scene: see draw.js, with `photo`, `parts` (name -> "true", "false" or "mixed") and `dragging` besides. */
  update(scene) {
    const face = scene.faces[scene.current];
    for (const button of $("shows").children) button.setAttribute("aria-pressed", scene.options[button.dataset.show]);
    $("score-key").hidden = !scene.options.scores;
    this.#facts(scene.photo, face);
    this.#point(face, scene.selected, scene.markup);
    this.#parts(scene.parts);
    this.#points(face, scene);
  }

  #facts(photo, face) {
    const pairs = [];
    if (face) {
      const [left, top, right, bottom] = face.box;
      if (face.scores) {
        const mean = face.scores.reduce((sum, score) => sum + score, 0) / face.scores.length;
        pairs.push(["Score", `${round(mean, 2)} mean, ${round(Math.min(...face.scores), 2)} lowest`]);
      }
      pairs.push(["Box", `${round(right - left, 0)} x ${round(bottom - top, 0)} px at ${round(left, 0)}, ${round(top, 0)}`]);
      if (face.seconds) pairs.push(["Time", `${round(1000 * face.seconds, 0)} ms for the landmarks`]);
      const moved = face.landmarks.filter((_, i) => isMoved(face, i)).length;
      if (isCorrected(face)) pairs.push(["Corrected", `${moved} of ${face.landmarks.length}${photo.isDirty(face) ? ", not saved" : ", saved"}`]);
    }
    if (photo?.bitmap) pairs.push(["Photo", `${photo.width} x ${photo.height} px`]);
    fillFacts($("facts"), pairs);
  }

  #point(face, index, markup) {
    this.index = index;
    $("point").hidden = index === null || !face;
    if ($("point").hidden) return;
    const score = face.scores && !isMoved(face, index) ? `, score ${round(face.scores[index], 2)}` : "";
    $("point-name").textContent = `${index} ${markup?.points[index] ?? ""}${score}`;
    ["x", "y"].forEach((axis, i) => {
      const input = $(`point-${axis}`);
      if (document.activeElement !== input) input.value = round(face.landmarks[index][i], 2);
    });
    $("point-back").disabled = !isMoved(face, index);
  }

  #parts(parts) {
    const names = Object.keys(parts);
    if ($("parts").dataset.names !== names.join()) {
      $("parts").dataset.names = names.join();
      $("parts").replaceChildren(
        ...names.map((name) => {
          const button = Object.assign(document.createElement("button"), { type: "button", textContent: name.replaceAll("_", " ") });
          button.addEventListener("click", () => this.hand.part(name));
          return button;
        }),
      );
    }
    names.forEach((name, i) => $("parts").children[i].setAttribute("aria-pressed", parts[name]));
  }

  #points(face, { selected, markup }) {
    const body = $("points").tBodies[0];
    const listed = face ? `${markup?.name}:${face.landmarks.length}` : null;
    if (listed !== this.#listed) {
      this.#listed = listed;
      this.#rows = (face?.landmarks ?? []).map((_, i) => pointRow(i, markup?.points[i] ?? "", (index) => this.hand.select(index)));
      body.replaceChildren(...this.#rows);
    }
    this.#rows.forEach((row, i) => {
      const [, x, y, score] = row.cells;
      x.textContent = round(face.landmarks[i][0]);
      y.textContent = round(face.landmarks[i][1]);
      const told = face.scores && !isMoved(face, i);
      score.textContent = told ? round(face.scores[i], 2) : "";
      score.classList.add("level");
      score.style.setProperty("--share", told ? Math.min(Math.max(face.scores[i], 0), 1) : 0);
      score.style.setProperty("--tint", told ? scoreColour(face.scores[i]) : "");
      row.classList.toggle("moved", isMoved(face, i));
      row.setAttribute("aria-selected", i === selected);
    });
  }
}
