// From image px to the screen's CSS px and back: screen = image * scale + (x, y).

const MOST = 80;

export class View {
  scale = 1;
  x = 0;
  y = 0;
  least = 0.01;

  toScreen([x, y]) {
    return [x * this.scale + this.x, y * this.scale + this.y];
  }

  toImage([x, y]) {
    return [(x - this.x) / this.scale, (y - this.y) / this.scale];
  }

  /** Show a box [left, top, right, bottom] of the image in the middle of a screen of (width, height). */
  show([left, top, right, bottom], width, height, margin = 12) {
    const room = Math.min((width - 2 * margin) / (right - left), (height - 2 * margin) / (bottom - top));
    this.scale = Math.max(Math.min(room, MOST), 1e-3);
    this.x = width / 2 - (this.scale * (left + right)) / 2;
    this.y = height / 2 - (this.scale * (top + bottom)) / 2;
  }

  /** Zoom, with the place under a point of the screen staying there. */
  zoomAt(factor, [x, y]) {
    const scale = Math.min(Math.max(this.scale * factor, this.least), MOST);
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
  }
}
