// The camera: each frame is sent, and drawn again with its own landmarks, so that they never lag behind the picture.

import { extent } from "./album.js";
import * as api from "./api.js";
import { paintFace } from "./draw.js";
import { View } from "./view.js";

const SIDE = 640; // px of the longer side that is sent
const DETECT_EVERY = 10; // frames, where the network can follow a face by its landmarks in between
const LOST = 0.6; // a face whose mean score is lower is looked for anew

const $ = (id) => document.getElementById(id);

export class Camera {
  #stream = null;
  #starting = null; // a promise, until there is a stream
  #video = document.createElement("video");
  #times = [];
  #frame = null; // the last frame that was answered, a Blob
  #faces = []; // what was found in it
  #number = 0;

  /** hand: settings() -> {model, markup, detector, follows, options, flip, visible}, captured(File, box), failed(error), closed(). */
  constructor(hand) {
    this.hand = hand;
    this.canvas = $("live-view");
    Object.assign(this.#video, { muted: true, playsInline: true });
    $("camera-off").addEventListener("click", () => this.stop());
    $("capture").addEventListener("click", () => this.#capture());
  }

  get on() {
    return this.#stream !== null;
  }

  /** Twice asked, it starts once. */
  start() {
    if (!this.on) this.#starting ??= this.#start().finally(() => (this.#starting = null));
    return this.#starting;
  }

  async #start() {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Error("The browser gives the camera to this machine's own pages and to https only: open the page on the machine it runs on.");
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: { ideal: 1280 } } });
    } catch (error) {
      const denied = error.name === "NotAllowedError";
      throw new Error(denied ? "The camera was not allowed: allow it beside the page's address." : "No camera was found, or another program uses it.");
    }
    try {
      this.#video.srcObject = stream;
      await this.#video.play();
    } catch {
      stream.getTracks().forEach((track) => track.stop());
      this.#video.srcObject = null;
      throw new Error("The camera's picture cannot be played: try once more.");
    }
    this.#stream = stream;
    this.#times = this.#faces = [];
    $("live").hidden = false;
    this.#loop();
  }

  stop() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = this.#frame = this.#video.srcObject = null;
    $("live").hidden = true;
    this.hand.closed();
  }

  async #loop() {
    const stream = this.#stream;
    while (this.#stream === stream && stream) {
      try {
        await this.#once();
      } catch (error) {
        if (this.#stream !== stream) return;
        this.stop();
        this.hand.failed(error);
        return;
      }
      await new Promise(requestAnimationFrame);
    }
  }

  async #once() {
    const { videoWidth, videoHeight } = this.#video;
    if (!videoWidth) return;
    const scale = Math.min(1, SIDE / Math.max(videoWidth, videoHeight));
    const frame = new OffscreenCanvas(Math.round(videoWidth * scale), Math.round(videoHeight * scale));
    frame.getContext("2d").drawImage(this.#video, 0, 0, frame.width, frame.height);
    const blob = await frame.convertToBlob({ type: "image/jpeg", quality: 0.9 });
    const settings = this.hand.settings();
    const where = this.#where(frame, settings);
    const told = await api.predict(blob, { model: settings.model, flip: settings.flip, ...where });
    if (!this.on) return;
    this.#frame = blob;
    this.#faces = told.faces.filter(({ scores }) => scores.reduce((sum, score) => sum + score, 0) > LOST * scores.length);
    this.#count();
    this.#paint(frame, told, settings, where.guide);
  }

  /** Where to look for faces: around the last landmarks, wherever the detector says, or in the middle. */
  #where(frame, settings) {
    if (settings.follows && this.#faces.length && ++this.#number % DETECT_EVERY) {
      return { boxes: this.#faces.map(({ landmarks }) => extent(landmarks)), crop: "landmarks" };
    }
    if (settings.detector) return { boxes: null };
    this.guide = guide(frame);
    return { boxes: [this.guide], guide: this.guide };
  }

  #count() {
    const now = performance.now();
    this.#times = [...this.#times.filter((time) => now - time < 2000), now];
  }

  #paint(frame, told, settings, frameBox) {
    const { canvas } = this;
    Object.assign(canvas, { width: frame.width * 2, height: frame.height * 2 });
    const context = canvas.getContext("2d");
    const view = new View();
    view.scale = 2;
    context.drawImage(frame, 0, 0, canvas.width, canvas.height);
    if (frameBox) {
      const [left, top, right, bottom] = frameBox.map((value) => 2 * value);
      context.strokeStyle = "#fffc";
      context.lineWidth = 3;
      context.setLineDash([12, 10]);
      context.strokeRect(left, top, right - left, bottom - top);
      context.setLineDash([]);
    }
    const scene = { markup: settings.markup, options: { ...settings.options, numbers: false }, selected: null, visible: settings.visible };
    for (const face of told.faces) paintFace(context, view, face, scene);
    this.#describe(told, frameBox);
  }

  #describe(told, frameBox) {
    const seconds = Object.values(told.seconds).reduce((sum, value) => sum + value, 0);
    const span = (this.#times.at(-1) - this.#times[0]) / 1000;
    const rate = span > 0 ? `${((this.#times.length - 1) / span).toFixed(1)} frames/s` : "starting";
    const place = frameBox ? ", keep your face in the frame" : told.faces.length === 1 ? "" : `, ${told.faces.length} faces`;
    $("rate").textContent = `${rate}, ${Math.round(1000 * seconds)} ms each${place}`;
  }

  #capture() {
    if (!this.#frame) return;
    const time = new Date().toTimeString().slice(0, 8).replaceAll(":", "-");
    const file = new File([this.#frame], `camera ${time}.jpg`, { type: "image/jpeg", lastModified: Date.now() });
    const box = this.hand.settings().detector ? null : this.guide;
    this.stop();
    this.hand.captured(file, box);
  }
}

/** Where the face is expected when nothing finds it: a square in the middle, as wide as a face box. */
function guide({ width, height }) {
  const side = 0.5 * Math.min(width, height);
  return [width / 2 - side / 2, height / 2 - side / 2, width / 2 + side / 2, height / 2 + side / 2];
}
