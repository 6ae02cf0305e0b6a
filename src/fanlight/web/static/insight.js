// What the network saw of a face, with its heatmaps over it.

import * as api from "./api.js";
import { heatCanvas } from "./colour.js";
import { dotRadius, paintFace } from "./draw.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);

export class Insight {
  #shown = null; // the answer on the screen
  #told = null; // the same, or {error}
  #wanted = null;
  #heat = [null, null, null]; // answer, index, canvas

  /** hand: select(index), changed(). */
  constructor(hand) {
    this.hand = hand;
    this.canvas = $("crop");
    this.view = new View();
    $("heat").addEventListener("change", () => hand.changed());
    $("heat-photo").addEventListener("change", () => hand.changed());
    $("insight").addEventListener("toggle", () => hand.changed());
    this.canvas.addEventListener("click", (event) => this.#choose(event));
    new ResizeObserver(() => this.#paint()).observe(this.canvas);
  }

  /** Choose a kind: "none", "sum", "one". */
  set kind(kind) {
    $("heat").value = kind;
    this.hand.changed();
  }

  get kind() {
    return $("heat").value;
  }

  /** The heatmap to lay over the photo, {canvas, square}, or null. */
  get onPhoto() {
    if (!$("heat-photo").checked || !this.#shown || this.kind === "none") return null;
    return { canvas: this.#heatmap(), square: this.#shown.square };
  }

  update(scene) {
    this.scene = scene;
    const face = scene.faces[scene.current];
    const open = $("insight").open || $("heat-photo").checked;
    if (face && face.model && open && !scene.dragging) this.#fetch(scene.photo, face);
    else if (!face || !face.model) this.#shown = this.#told = this.#wanted = null;
    this.#paint();
  }

  async #fetch(photo, face) {
    const key = JSON.stringify([face.model, face.box, face.crop]);
    this.#wanted = key;
    if (!photo.insights.has(key)) {
      this.#shown = null;
      photo.insights.set(key, api.heatmaps(photo.file, face).catch((error) => ({ error })));
    }
    const told = await photo.insights.get(key);
    if (told.error) this.#again(photo, key, told.error);
    if (this.#wanted !== key || told === this.#told) return;
    this.#told = told;
    this.#shown = told.error ? null : told;
    $("heat-note").textContent = told.error?.message ?? "";
    this.hand.changed();
  }

  /** Where the server is only busy, or away, forget its failure after a while and ask again. */
  #again(photo, key, error) {
    const asked = photo.insights.get(key);
    const forget = () => photo.insights.get(key) === asked && photo.insights.delete(key);
    if (!error.wait) return;
    setTimeout(() => forget() && this.#wanted === key && this.hand.changed(), 1000 * error.wait);
  }

  #heatmap() {
    const index = this.kind === "one" ? (this.scene.selected ?? null) : null;
    if (this.#heat[0] !== this.#shown || this.#heat[1] !== index) {
      this.#heat = [this.#shown, index, heatCanvas(this.#shown, index)];
    }
    return this.#heat[2];
  }

  #paint() {
    const { canvas, view } = this;
    const [side, ratio] = [canvas.clientWidth, devicePixelRatio];
    if (!side) return;
    if (canvas.width !== Math.round(side * ratio)) canvas.width = canvas.height = Math.round(side * ratio);
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, side, side);
    const face = this.scene?.faces[this.scene.current];
    if (!this.#shown || !face) return;
    const [x, y, extent] = this.#shown.square;
    view.show([x - extent / 2, y - extent / 2, x + extent / 2, y + extent / 2], side, side, 0);
    context.drawImage(this.#shown.crop, 0, 0, side, side);
    if (this.kind !== "none") context.drawImage(this.#heatmap(), 0, 0, side, side);
    const one = this.kind === "one" && this.scene.selected !== null;
    const bare = { ...this.scene.options, numbers: false, lines: false, ellipses: this.scene.options.ellipses && this.kind === "none" };
    if (this.kind === "none" || one) {
      const change = one ? { visible: new Set([this.scene.selected]), selected: null } : {};
      paintFace(context, view, face, { ...this.scene, options: bare, ...change });
    }
    this.#describe(one);
  }

  #describe(one) {
    const { size, peak } = this.#shown;
    const input = this.#shown.crop.width;
    const name = one ? this.scene.markup?.points[this.scene.selected] : "all points";
    $("heat-note").textContent = `${input} x ${input} px in, ${size} x ${size} cells out; highest response ${peak.toFixed(2)}. ` +
      (this.kind === "one" && !one ? "Click near a point to see its heatmap." : this.kind === "none" ? "" : `Shown: ${name}.`);
  }

  /** A click chooses the nearest point, and shows its heatmap. */
  #choose(event) {
    const face = this.scene?.faces[this.scene.current];
    if (!face || !this.#shown) return;
    const { left, top } = this.canvas.getBoundingClientRect();
    const [x, y] = this.view.toImage([event.clientX - left, event.clientY - top]);
    const far = face.landmarks.map((point) => Math.hypot(point[0] - x, point[1] - y));
    const nearest = far.indexOf(Math.min(...far));
    if (far[nearest] * this.view.scale > 20 + dotRadius(face, this.view.scale)) {
      this.kind = "sum";
      return;
    }
    if (this.kind === "sum") $("heat").value = "one";
    this.hand.select(nearest);
  }
}
