// The server's answers, or an Error whose message can be shown.

async function ask(path, body, headers = {}) {
  let response;
  try {
    response = await fetch(path, body === undefined ? {} : { method: "POST", body, headers });
  } catch {
    throw Object.assign(new Error("The server does not answer: is fanlight serve still running?"), { wait: 5 });
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  const wait = response.status === 503 ? Number(response.headers.get("Retry-After")) || 1 : 0; // s, then it is worth asking again
  throw Object.assign(new Error(told.error ?? `The server answered ${response.status}.`), { wait });
}

function form(fields) {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value === null || value === undefined) continue;
    if (value instanceof Blob) data.append(name, value, value.name ?? "photo.jpg");
    else data.append(name, typeof value === "string" ? value : JSON.stringify(value));
  }
  return data;
}

export const models = async () => (await ask("/api/models")).json();

/** boxes: [[left, top, right, bottom], ...], "whole", or null for the detector. */
export const predict = async (photo, { model, boxes = null, crop = null, flip = false }) =>
  (await ask("/api/predict", form({ photo, model, boxes, crop, flip }))).json();

/** {crop: ImageBitmap, square, size, peak, maps: Uint8Array of L * size * size} */
export async function heatmaps(photo, { model, box, crop }) {
  const told = await (await ask("/api/heatmaps", form({ photo, model, box, crop }))).json();
  const image = await createImageBitmap(new Blob([bytes(told.crop_png)], { type: "image/png" }));
  return { crop: image, square: told.square, size: told.size, peak: told.peak, maps: bytes(told.heatmaps) };
}

export const preview = async (photo) => (await ask("/api/preview", form({ photo }))).blob();

export const writePts = async (landmarks) =>
  (await ask("/api/pts", JSON.stringify({ landmarks }), { "Content-Type": "application/json" })).blob();

export const readPts = async (file) => (await (await ask("/api/pts/read", form({ file }))).json()).landmarks;

const bytes = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
