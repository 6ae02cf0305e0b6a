// The photo on the screen: zooming, dragging points and boxes, a magnifier. It changes nothing itself; what the hand
// did is told to `hand`: select(index|null), drag(index, point), moved(index, point), cancelled(), drawn(box),
// reshape(box), reshaped(box), face(index).

import { corners, otherScene, paint } from "./draw.js";
import { Loupe } from "./loupe.js";
import { View } from "./view.js";

const REACH = { mouse: 12, pen: 16, touch: 26 }; // CSS px from a point that still takes hold of it
const STILL = 4; // CSS px that a tap may tremble

export class Stage {
  view = new View();
  mode = "move"; // or "box"
  split = false;
  #pointers = new Map();
  #gesture = null;
  #due = false;
  #last = null; // the canvas's size before
  #whole = null; // the view while it shows the whole photo

  constructor(canvas, other, loupe, hand, scene) {
    Object.assign(this, { canvas, other, hand, scene, loupe: new Loupe(loupe) });
    new ResizeObserver(() => this.#resized()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.cancel(event));
    for (const one of [canvas, other]) one.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("dblclick", (event) => this.#grab(this.#at(event), "mouse") ?? this.fit());
  }

  get size() {
    return [this.canvas.clientWidth, this.canvas.clientHeight];
  }

  /** Draw soon. */
  redraw() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      const scene = this.scene();
      this.#paint(this.canvas, this.split ? { ...scene, other: null } : scene);
      this.other.hidden = !this.split;
      if (this.split && scene?.other) {
        this.#paint(this.other, { ...otherScene(scene), faces: [scene.other], current: 0, other: null, heat: null });
      } else if (this.split) this.#paint(this.other, { ...scene, faces: [], other: null });
    });
  }

  #paint(canvas, scene) {
    const [width, height, ratio] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio];
    const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== across || canvas.height !== down) Object.assign(canvas, { width: across, height: down });
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    paint(context, this.view, scene, width, height);
  }

  /** The whole photo. */
  showAll() {
    const { width, height, bitmap } = this.scene();
    if (!bitmap) return;
    this.view.show([0, 0, width, height], ...this.size);
    this.view.least = Math.min(this.view.scale / 2, 1);
    this.#whole = this.#place();
    this.redraw();
  }

  #place = () => `${this.view.scale} ${this.view.x} ${this.view.y}`;

  /** Keep the middle in the middle when the window changes, and all of the photo in sight where it was. */
  #resized() {
    const [width, height] = this.size;
    const last = this.#last;
    this.#last = [width, height];
    if (!last || !width || !height) return;
    if (this.#whole === this.#place()) return this.showAll();
    this.view.pan((width - last[0]) / 2, (height - last[1]) / 2);
    this.redraw();
  }

  /** The whole photo; the current face where the whole is shown already. */
  fit() {
    const before = this.#place();
    this.showAll();
    const { faces, current } = this.scene();
    if (before === this.#whole && faces[current]) this.view.show(faces[current].box, ...this.size, 40);
    this.redraw();
  }

  zoom(factor, place = this.size.map((side) => side / 2)) {
    this.view.zoomAt(factor, place);
    this.redraw();
  }

  /** Bring a point of the image into sight. */
  reveal(point) {
    const [x, y] = this.view.toScreen(point);
    const [width, height] = this.size;
    if (x < 20 || y < 20 || x > width - 20 || y > height - 20) this.view.pan(width / 2 - x, height / 2 - y);
    this.redraw();
  }

  setMode(mode) {
    this.cancel();
    this.mode = mode;
    this.canvas.style.cursor = mode === "box" ? "crosshair" : "";
  }

  /** Let go of what is being dragged, as if it had not been. */
  cancel(event) {
    if (event) this.#pointers.delete(event.pointerId);
    if (!this.#gesture) return false;
    this.#gesture = null;
    this.loupe.hide();
    this.hand.cancelled();
    return true;
  }

  #at(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  /** The visible point of the current face nearest to a place on the screen, if one is within reach. */
  #grab(place, kind) {
    const scene = this.scene();
    const face = scene?.faces[scene.current];
    let [best, nearest] = [null, REACH[kind] ?? REACH.mouse];
    face?.landmarks.forEach((point, i) => {
      if (!scene.visible.has(i)) return;
      const [x, y] = this.view.toScreen(point);
      const distance = Math.hypot(x - place[0], y - place[1]);
      if (distance < nearest) [best, nearest] = [i, distance];
    });
    return best;
  }

  #corner(place, kind) {
    const scene = this.scene();
    const face = scene?.faces[scene.current];
    if (!face || !scene.options.boxes) return null;
    const found = corners(face.box).findIndex((corner) => {
      const [x, y] = this.view.toScreen(corner);
      return Math.hypot(x - place[0], y - place[1]) < (REACH[kind] ?? REACH.mouse) * 0.8;
    });
    return found < 0 ? null : found;
  }

  #down(event) {
    if (event.button > 0 && event.button !== 1) return;
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    const place = this.#at(event);
    this.#pointers.set(event.pointerId, place);
    if (this.#pointers.size > 1) return this.#pinch();
    const scene = this.scene();
    if (!scene?.bitmap) return;
    const start = { place, from: place };
    if (this.mode === "box") {
      this.#gesture = { ...start, kind: "rubber", image: this.view.toImage(place) };
      return;
    }
    const face = scene.faces[scene.current];
    const corner = event.button ? null : this.#corner(place, event.pointerType);
    const index = event.button ? null : this.#grab(place, event.pointerType);
    if (index !== null) {
      const [x, y] = this.view.toScreen(face.landmarks[index]);
      this.#gesture = { ...start, kind: "point", index, offset: [x - place[0], y - place[1]] };
      this.hand.select(index);
    } else if (corner !== null) {
      this.#gesture = { ...start, kind: "corner", corner, box: face.box };
    } else {
      this.#gesture = { ...start, kind: "pan" };
    }
  }

  #pinch() {
    this.cancel();
    const [one, other] = [...this.#pointers.values()];
    this.#gesture = { kind: "pinch", gap: Math.hypot(one[0] - other[0], one[1] - other[1]), middle: centre(one, other) };
  }

  #move(event) {
    const place = this.#at(event);
    if (!this.#pointers.has(event.pointerId)) return this.#hover(place, event.pointerType);
    this.#pointers.set(event.pointerId, place);
    const gesture = this.#gesture;
    if (!gesture) return;
    if (gesture.kind === "pinch") return this.#pinched(gesture);
    gesture.began ||= Math.hypot(place[0] - gesture.from[0], place[1] - gesture.from[1]) > STILL;
    const [dx, dy] = [place[0] - gesture.place[0], place[1] - gesture.place[1]];
    gesture.place = place;
    if (!gesture.began) return;
    if (gesture.kind === "pan") {
      this.view.pan(place[0] - (gesture.last ?? gesture.from)[0], place[1] - (gesture.last ?? gesture.from)[1]);
      gesture.last = place;
      this.redraw();
    } else if (gesture.kind === "point") {
      gesture.point = this.#inside(this.view.toImage([place[0] + gesture.offset[0], place[1] + gesture.offset[1]]));
      this.hand.drag(gesture.index, gesture.point);
      this.loupe.show(this.scene(), gesture.point, this.view.scale, place, this.size);
    } else if (gesture.kind === "rubber" || (dx || dy)) {
      gesture.result = this.#box(gesture, place);
      this.hand.reshape(gesture.result, gesture.kind === "corner");
    }
  }

  #hover(place, kind) {
    if (this.mode === "box" || kind === "touch") return;
    const held = this.#grab(place, kind) !== null ? "grab" : this.#corner(place, kind) !== null ? "nwse-resize" : "";
    this.canvas.style.cursor = held;
  }

  /** Landmarks may lie outside a photo that cuts a face off, but not by more than its size. */
  #inside([x, y]) {
    const { width, height } = this.scene();
    return [Math.min(Math.max(x, -width), 2 * width), Math.min(Math.max(y, -height), 2 * height)];
  }

  #box(gesture, place) {
    const [x, y] = this.#inside(this.view.toImage(place));
    const fixed = gesture.kind === "rubber" ? gesture.image : corners(gesture.box)[3 - gesture.corner];
    return [Math.min(x, fixed[0]), Math.min(y, fixed[1]), Math.max(x, fixed[0]), Math.max(y, fixed[1])];
  }

  #pinched(gesture) {
    const [one, other] = [...this.#pointers.values()];
    const gap = Math.hypot(one[0] - other[0], one[1] - other[1]);
    const middle = centre(one, other);
    this.view.pan(middle[0] - gesture.middle[0], middle[1] - gesture.middle[1]);
    this.zoom(gap / Math.max(gesture.gap, 1), middle);
    Object.assign(gesture, { gap, middle });
  }

  #up(event) {
    this.#pointers.delete(event.pointerId);
    const gesture = this.#gesture;
    this.#gesture = null;
    this.loupe.hide();
    if (!gesture || gesture.kind === "pinch") return;
    if (gesture.kind === "point" && gesture.point) this.hand.moved(gesture.index, gesture.point);
    else if (gesture.kind === "pan" && !gesture.began) this.#tap(gesture.place);
    else if (gesture.result) {
      const [left, top, right, bottom] = gesture.result;
      if (Math.min(right - left, bottom - top) < 4) this.hand.cancelled();
      else if (gesture.kind === "rubber") this.hand.drawn(gesture.result);
      else this.hand.reshaped(gesture.result);
    }
  }

  #tap(place) {
    const scene = this.scene();
    const [x, y] = this.view.toImage(place);
    const hit = scene.faces.findIndex(
      ({ box: [left, top, right, bottom] }, i) => i !== scene.current && x > left && x < right && y > top && y < bottom,
    );
    if (hit < 0) this.hand.select(null);
    else this.hand.face(hit);
  }

  #wheel(event) {
    event.preventDefault();
    const { left, top } = event.currentTarget.getBoundingClientRect();
    const pace = event.deltaMode ? 0.05 : event.ctrlKey ? 0.01 : 0.0018;
    this.zoom(Math.exp(-event.deltaY * pace), [event.clientX - left, event.clientY - top]);
  }
}

const centre = (one, other) => [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2];
