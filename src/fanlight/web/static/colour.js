// Colours that mean something: scores (magenta, gold, teal: apart for colour-blind eyes) and heatmaps.

export const GOLD = "#ffb000";
export const BLUE = "#569cff";

const SCORES = [[0, [214, 51, 132]], [0.45, [255, 140, 40]], [0.7, [255, 210, 63]], [1, [84, 214, 190]]];
const HEAT = [[0, [20, 8, 50]], [0.25, [95, 18, 110]], [0.5, [200, 50, 75]], [0.75, [250, 140, 30]], [1, [252, 250, 165]]];

function mix(stops, value) {
  const at = Math.min(Math.max(value, 0), 1);
  const next = Math.max(1, stops.findIndex(([place]) => place >= at));
  const [[low, from], [high, to]] = [stops[next - 1], stops[next]];
  const share = (at - low) / (high - low);
  return from.map((channel, i) => Math.round(channel + share * (to[i] - channel)));
}

export const scoreColour = (score) => `rgb(${mix(SCORES, score).join(" ")})`;

/** Paint the scale of scores into a canvas. */
export function paintRamp(canvas) {
  const context = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x++) {
    context.fillStyle = scoreColour(x / (canvas.width - 1));
    context.fillRect(x, 0, 1, canvas.height);
  }
}

const TABLE = Array.from({ length: 256 }, (_, i) => mix(HEAT, i / 255));

/** A canvas of size x size cells: one landmark's heatmap, or the largest response of all where index is null. */
export function heatCanvas({ maps, size }, index) {
  const cells = size * size;
  const shown = new Uint8Array(cells);
  if (index !== null) shown.set(maps.subarray(index * cells, (index + 1) * cells));
  else for (let i = 0; i < maps.length; i++) shown[i % cells] = Math.max(shown[i % cells], maps[i]);
  const canvas = new OffscreenCanvas(size, size);
  const image = new ImageData(size, size);
  shown.forEach((value, i) => image.data.set([...TABLE[value], 255 * (value / 255) ** 0.65], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
