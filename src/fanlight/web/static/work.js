// What is done with photos: opening, predicting, correcting, saving. It changes the state and calls `refresh`.

import { Photo, fileFace, isCorrected, keptFace, makeFace, overlap } from "./album.js";
import * as api from "./api.js";
import { findDraft, keepDraft } from "./drafts.js";

const SAME_FACE = 0.3; // overlap from which landmarks in a file belong to a face that is there already
const THUMB = 128;

export class Work {
  photos = [];
  photo = null;
  model = null;
  flip = false;
  #pumping = false;

  /** info: the answer of /api/models; refresh(): draw anew; arrived(): a photo with its faces is on the screen. */
  constructor(info, { refresh, say, arrived }) {
    Object.assign(this, { info, refresh, say, arrived });
    this.model = info.models[0].name;
  }

  markupOf(face) {
    const { models } = this.info;
    const own = models.find(({ name }) => name === (face?.model ?? this.model));
    const fits = (one) => one && (!face || one.markup.points.length === face.landmarks.length);
    return (fits(own) ? own : models.find(fits))?.markup ?? null;
  }

  /** The crop rule to ask a model for: the one for a face's detector, or null where it has none for that. */
  ruleFor(model, crop) {
    return this.info.models.find(({ name }) => name === model)?.crops.includes(crop) ? crop : null;
  }

  /** Open photos, and landmark files that belong to them by their names; box: where the face is, if that is known. */
  async open(files, box = null) {
    const all = [...files];
    const isPts = (file) => /\.pts$/i.test(file.name);
    const photos = all.filter((file) => !isPts(file)).map((file) => Object.assign(new Photo(file), { guide: box }));
    this.photos.push(...photos);
    if (photos.length) this.show(photos[0]);
    await this.#pump();
    for (const file of all.filter(isPts)) await this.loadPts(file, this.#photoFor(file));
  }

  #photoFor(file) {
    const stem = file.name.replace(/\.pts$/i, "");
    const fits = (photo) => photo.stem === stem || (stem.startsWith(`${photo.stem}_`) && /^_\d+$/.test(stem.slice(photo.stem.length)));
    return this.photos.findLast((photo) => photo.stem === stem) ?? this.photos.findLast(fits) ?? this.photo;
  }

  async show(photo) {
    if (this.photo && this.photo !== photo) release(this.photo);
    this.photo = photo;
    this.refresh();
    if (photo.state === "waiting") return this.#pump();
    if (photo.state === "bad") return this.say(photo.message, true);
    await this.#see(photo);
    if (photo !== this.photo) return photo.state === "busy" ? undefined : release(photo); // another one was chosen meanwhile
    this.arrived();
    return this.renew(photo);
  }

  /** The bitmap of a photo, from the browser or, where it cannot read it or may turn it another way, from the server. */
  async #see(photo, anew = false) {
    if (photo.bitmap && !anew) return;
    const own = !anew && !photo.foreign && (await isPlain(photo.file)) && (await createImageBitmap(photo.file).catch(() => null));
    photo.foreign = !own;
    photo.bitmap = own || (await createImageBitmap(await api.preview(photo.file)));
    [photo.width, photo.height] = [photo.bitmap.width, photo.bitmap.height];
  }

  /** Look at the photos that wait, the one on the screen first. */
  async #pump() {
    if (this.#pumping) return this.#pumping;
    const loop = async () => {
      for (;;) {
        const next = this.photo?.state === "waiting" ? this.photo : this.photos.find(({ state }) => state === "waiting");
        if (!next) return;
        await this.#arrive(next);
      }
    };
    this.#pumping = loop().finally(() => (this.#pumping = false));
    return this.#pumping;
  }

  async #arrive(photo) {
    photo.state = "busy";
    this.refresh();
    try {
      if (photo.file.size > this.info.limits.bytes) {
        throw new Error(`${photo.name}: ${(photo.file.size / 2 ** 20).toFixed(1)} MiB, at most ${this.info.limits.bytes >> 20}: scale it down`);
      }
      await this.#see(photo);
      photo.thumb = thumbnail(photo.bitmap);
      if (photo === this.photo) this.arrived();
      const boxes = photo.guide ? [photo.guide] : null;
      if (this.info.detector || boxes) photo.faces = await this.#predict(photo, boxes, null);
      photo.state = "ready";
      this.#restore(photo);
      if (photo === this.photo) this.#tell(photo);
    } catch (error) {
      Object.assign(photo, { state: "bad", message: error.message });
      if (photo === this.photo) this.say(error.message, true);
    }
    if (photo !== this.photo) release(photo);
    this.refresh();
  }

  #tell(photo) {
    if (photo.restored) return;
    const count = photo.faces.length;
    if (!this.info.detector) this.say(count ? "" : "There is no detector: draw a box around a face, or take the whole photo.");
    else if (!count) this.say("No face was found: draw a box around it.");
    else this.say(`${photo.name}: ${count} face${count > 1 ? "s" : ""}`);
  }

  #restore(photo) {
    const draft = findDraft(photo);
    if (!draft) return;
    photo.commit(draft.faces.map(keptFace));
    photo.restored = true;
    const time = new Date(draft.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    if (photo === this.photo) this.say(`Your unsaved corrections of ${time} are back; undo shows the prediction.`);
  }

  async #predict(photo, boxes, crop) {
    const { model, flip } = this;
    const told = await api.predict(photo.file, { model, boxes, crop, flip });
    if (photo.bitmap && (told.width !== photo.width || told.height !== photo.height)) await this.#see(photo, true);
    return told.faces.map((found) => makeFace({ ...found, flip }, model, told.crop));
  }

  /** Run something that asks the server for the photo on the screen. */
  async #busy(photo, job) {
    photo.asking = (photo.asking ?? 0) + 1;
    this.refresh();
    try {
      await job();
    } catch (error) {
      this.say(error.message, true);
    }
    photo.asking -= 1;
    keepDraft(photo);
    this.refresh();
  }

  /** Predict the faces again that another model, or another way, predicted; corrected ones stay. */
  renew(photo = this.photo) {
    const stale = (face) => face.model && (face.model !== this.model || face.flip !== this.flip) && !isCorrected(face);
    const old = photo?.faces.filter(stale) ?? [];
    if (!old.length) return undefined;
    return this.#busy(photo, async () => {
      const renewed = new Map();
      for (const crop of new Set(old.map((face) => face.crop))) {
        const some = old.filter((face) => face.crop === crop);
        const found = await this.#predict(photo, some.map(({ box }) => box), this.ruleFor(this.model, crop));
        some.forEach((face, i) => renewed.set(face.key, { ...found[i], key: face.key, drawn: face.drawn }));
      }
      photo.commit(photo.faces.map((face) => (stale(face) ? (renewed.get(face.key) ?? face) : face)));
    });
  }

  /** Add a face in a box; "whole" takes the whole photo. */
  addFace(box) {
    const { photo } = this;
    return this.#busy(photo, async () => {
      const found = await this.#predict(photo, box === "whole" ? box : [box], null);
      photo.commit([...photo.faces, ...found.map((face) => Object.freeze({ ...face, drawn: true }))]);
      photo.current = photo.faces.length - 1;
      this.say("");
    });
  }

  /** Predict a face anew, in its own box or in another one. */
  again(box = this.photo?.face?.box) {
    const { photo } = this;
    const face = photo?.face;
    if (!face) return undefined;
    return this.#busy(photo, async () => {
      const [found] = await this.#predict(photo, [box], this.ruleFor(this.model, face.crop));
      const index = photo.faces.findIndex(({ key }) => key === face.key);
      if (index >= 0) photo.replaceFace(index, { ...found, key: face.key, drawn: face.drawn || box !== face.box });
    });
  }

  dropFace() {
    const { photo } = this;
    if (!photo?.face) return;
    photo.commit(photo.faces.filter((face) => face !== photo.face));
    this.changed();
  }

  /** After a change of faces that needed no server. */
  changed() {
    keepDraft(this.photo);
    this.refresh();
  }

  async loadPts(file, photo = this.photo) {
    try {
      const landmarks = await api.readPts(file);
      if (!photo) throw new Error(`${file.name}: open its photo first`);
      const loaded = fileFace(landmarks);
      const index = photo.faces.findIndex((face) => face.landmarks.length === landmarks.length && overlap(loaded.box, face.box) > SAME_FACE);
      if (index >= 0) photo.replaceFace(index, { landmarks });
      else photo.commit([...photo.faces, loaded]);
      photo.current = index >= 0 ? index : photo.faces.length - 1;
      photo.saved.add(landmarks);
      this.say(`${file.name}: ${landmarks.length} points`);
    } catch (error) {
      this.say(error.message, true);
    }
    this.refresh();
  }

  async save() {
    const { photo } = this;
    const face = photo?.face;
    if (!face) return;
    try {
      const name = photo.ptsName();
      download(await api.writePts(face.landmarks), name);
      photo.saved.add(face.landmarks);
      keepDraft(photo);
      this.say(`Saved ${name}`);
    } catch (error) {
      this.say(error.message, true);
    }
    this.refresh();
  }
}

/** Whether browsers show a photo as the server sees it: they all turn JPEG files by their EXIF notes, but not others. */
async function isPlain(file) {
  const [first, second] = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  if (first === 0xff && second === 0xd8) return true;
  return !/^II\*|^MM\0|eXIf|EXIF/.test(await file.text());
}

/** Large bitmaps of photos that are not on the screen would fill the memory. */
function release(photo) {
  photo.bitmap?.close();
  photo.bitmap = null;
}

function thumbnail(bitmap) {
  const scale = THUMB / Math.min(bitmap.width, bitmap.height);
  const canvas = Object.assign(document.createElement("canvas"), { width: THUMB, height: THUMB });
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  canvas.getContext("2d").drawImage(bitmap, (THUMB - width) / 2, (THUMB - height) / 2, width, height);
  return canvas;
}

function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
