// Photos, their faces, and what was done to them. Faces are never changed, only replaced, so that undo is a list.
//
// A face: {key, box, crop, square, model, landmarks, scores, covariances, predicted, seconds}. All coordinates are
// image px, continuous. `predicted` is what the network said before any correction, or null; `model` is null for
// landmarks from a file; `drawn` is true where a person said where the face is.

const MERGE_MS = 800;
let keys = 0;

export class Photo {
  constructor(file) {
    this.file = file;
    this.name = file.name || "photo.jpg";
    this.stem = this.name.replace(/\.[^.]*$/, "");
    this.state = "waiting"; // "busy", "ready", "bad"
    this.message = "";
    this.bitmap = null;
    this.guide = null; // the box of its face, where it was known before any was found
    this.faces = [];
    this.current = 0;
    this.past = [];
    this.future = [];
    this.saved = new WeakSet(); // the landmarks that are in a file
    this.insights = new Map();
    this.others = new Map();
  }

  get face() {
    return this.faces[this.current] ?? null;
  }

  /** Replace the faces in a way that can be undone; quick repetitions of one tag are one step. */
  commit(faces, tag = "") {
    const now = performance.now();
    const last = this.past.at(-1);
    if (!tag || last?.tag !== tag || now - last.at > MERGE_MS) this.past.push({ faces: this.faces, tag, at: now });
    else last.at = now;
    this.future = [];
    this.faces = faces;
    this.current = Math.max(0, Math.min(this.current, faces.length - 1));
  }

  undo() {
    return this.#step(this.past, this.future);
  }

  redo() {
    return this.#step(this.future, this.past);
  }

  #step(from, to) {
    const step = from.pop();
    if (!step) return false;
    to.push({ faces: this.faces, tag: "", at: 0 });
    this.faces = step.faces;
    this.current = Math.max(0, Math.min(this.current, this.faces.length - 1));
    return true;
  }

  replaceFace(index, change, tag) {
    this.commit(this.faces.map((face, i) => (i === index ? Object.freeze({ ...face, ...change }) : face)), tag);
  }

  movePoint(index, point, tag) {
    const landmarks = this.face.landmarks.map((own, i) => (i === index ? point : own));
    this.replaceFace(this.current, { landmarks }, tag);
  }

  /** Corrected, or found in a box that was drawn, and not in a file as it is now. */
  isDirty(face) {
    return (isCorrected(face) || Boolean(face.drawn)) && !this.saved.has(face.landmarks);
  }

  get dirty() {
    return this.faces.some((face) => this.isDirty(face));
  }

  /** The name of the file for a face: the photo's own, numbered from the second face on. */
  ptsName(index = this.current) {
    return `${this.stem}${index ? `_${index + 1}` : ""}.pts`;
  }
}

export const makeFace = (found, model, crop) =>
  Object.freeze({ ...found, key: ++keys, model, crop, predicted: found.landmarks });

export const fileFace = (landmarks) =>
  Object.freeze({
    key: ++keys, box: around(landmarks), crop: null, square: null, model: null, landmarks, scores: null,
    covariances: null, predicted: null, seconds: null, original: landmarks,
  });

/** A face that was kept as JSON. */
export const keptFace = (face) => Object.freeze({ ...face, key: ++keys });

const reference = (face) => face.predicted ?? face.original;

export const isCorrected = (face) => face.landmarks !== reference(face) && face.landmarks.some((_, i) => isMoved(face, i));

export function isMoved(face, index) {
  const before = reference(face)?.[index];
  const now = face.landmarks[index];
  return Boolean(before) && (Math.abs(before[0] - now[0]) > 1e-6 || Math.abs(before[1] - now[1]) > 1e-6);
}

/** The smallest box around points. */
export function extent(points) {
  const xs = points.map((point) => point[0]);
  const ys = points.map((point) => point[1]);
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}

/** A face box for landmarks that came without one. */
export function around(points) {
  const [left, top, right, bottom] = extent(points);
  const margin = Math.max(1, 0.05 * Math.max(right - left, bottom - top));
  return [left - margin, top - margin, right + margin, bottom + margin];
}

/** Intersection over union of two boxes. */
export function overlap(one, other) {
  const width = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
  const height = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
  const common = Math.max(0, width) * Math.max(0, height);
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return common / (area(one) + area(other) - common);
}
