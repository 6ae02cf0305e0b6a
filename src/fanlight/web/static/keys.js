// The keyboard.

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const FINE = 0.1;

/** hand: what each key does, by names; nudge(dx, dy) and step(by) get numbers. */
export function listen(stage, hand) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey || document.querySelector("dialog[open]")) return;
    const command = event.ctrlKey || event.metaKey;
    const action = command ? commands(event, hand) : plain(event, stage, hand);
    if (action && action() !== false) event.preventDefault();
  });
}

function commands(event, hand) {
  const key = event.key.toLowerCase();
  if (key === "s") return hand.save;
  if (isField(event.target)) return null;
  if (key === "z") return event.shiftKey ? hand.redo : hand.undo;
  return key === "y" ? hand.redo : null;
}

function plain(event, stage, hand) {
  const { target, key, shiftKey } = event;
  if (isField(target)) return null;
  if (key === "Tab") return target === stage ? () => hand.step(shiftKey ? -1 : 1, true) : null;
  if (ARROWS[key]) {
    const [dx, dy] = ARROWS[key].map((way) => way * (shiftKey ? FINE : 1));
    return () => hand.nudge(dx, dy);
  }
  const simple = {
    n: () => hand.step(1), p: () => hand.step(-1), "+": () => hand.zoom(1.3), "=": () => hand.zoom(1.3),
    "-": () => hand.zoom(1 / 1.3), 0: hand.fit, b: hand.box, r: hand.again, f: hand.nextFace, ",": () => hand.nextPhoto(-1),
    ".": () => hand.nextPhoto(1), l: () => hand.show("lines"), "#": () => hand.show("numbers"), e: () => hand.show("ellipses"),
    h: hand.heat, "?": hand.help, Escape: hand.escape, Delete: hand.dropFace,
  };
  return simple[key.length === 1 ? key.toLowerCase() : key] ?? null;
}

const isField = (element) => /^(INPUT|SELECT|TEXTAREA)$/.test(element.tagName) && element.type !== "checkbox";
