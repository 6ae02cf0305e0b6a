// The magnifier that shows what is under a finger or a pointer while a point is dragged.

const ZOOM = 5; // more than the photo on the screen has
const RING = 12;

export class Loupe {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
  }

  /** Show the surroundings of an image point, in the corner away from the pointer. */
  show(scene, [x, y], scale, place, [width]) {
    const { canvas, context } = this;
    const zoom = Math.min(Math.max(scale * ZOOM, 4), 60);
    const half = canvas.width / 2;
    canvas.hidden = false;
    canvas.classList.toggle("left", place[0] > width / 2 && place[1] < 220);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = false;
    context.setTransform(zoom, 0, 0, zoom, half - x * zoom, half - y * zoom);
    context.drawImage(scene.bitmap, 0, 0, scene.width, scene.height);
    context.setTransform(1, 0, 0, 1, half, half);
    for (const [colour, lines] of [["#000c", 8], ["#ffb000", 4]]) {
      context.strokeStyle = colour;
      context.lineWidth = lines;
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(dx * RING, dy * RING);
        context.lineTo(dx * 3.2 * RING, dy * 3.2 * RING);
      }
      context.stroke();
    }
  }

  hide() {
    this.canvas.hidden = true;
  }
}
