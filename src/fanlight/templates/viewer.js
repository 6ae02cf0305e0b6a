"use strict";
// Faces to leaf through. Each .viewer holds its faces as JSON; pictures are made when they are shown.
for (const viewer of document.querySelectorAll(".viewer")) startViewer(viewer);

function startViewer(viewer) {
  const data = JSON.parse(viewer.querySelector("script").textContent);
  const perStrip = 12, colours = ["true", "predicted", "predicted"];
  const orders = {
    error: (a, b) => b.error - a.error, best: (a, b) => a.error - b.error, score: (a, b) => a.score - b.score,
    gain: (a, b) => b.gain - a.gain, loss: (a, b) => b.loss - a.loss,
  };
  let faces = data.faces.slice(), at = 0;
  const hidden = new Set();

  const stage = element("div", "stage"), bar = element("div", "controls"), strip = element("div", "strip");
  const title = element("p", "title");
  title.setAttribute("aria-live", "polite");
  const back = button("←", "Previous face", () => show(at - 1));
  const on = button("→", "Next face", () => show(at + 1));
  const place = element("span", "place"), slider = element("input");
  Object.assign(slider, { type: "range", min: 0, max: faces.length - 1, value: 0, ariaLabel: "Face" });
  slider.addEventListener("input", () => show(Number(slider.value)));
  const order = element("select");
  order.ariaLabel = "Order of the faces";
  for (const [name, text] of data.orders) order.add(new Option(text, name));
  order.addEventListener("change", () => { faces = data.faces.slice().sort(orders[order.value]); show(0); });
  const toggles = [["predicted", "Predicted"], ["true", "True"]].map(([name, text]) => {
    const toggle = button(text, "Show or hide", () => flip(name));
    toggle.className = "toggle " + name;
    toggle.removeAttribute("aria-label");
    toggle.setAttribute("aria-pressed", "true");
    return [name, toggle];
  });
  const choices = element("div", "controls");
  bar.append(back, on, place, slider);
  choices.append(order, ...toggles.map(([, toggle]) => toggle));
  viewer.append(stage, title, bar, choices, strip);

  viewer.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target === order) return;
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: faces.length - 1 };
    if (event.key in moves) show(moves[event.key]);
    else if (event.key.toLowerCase() === "p") flip("predicted");
    else if (event.key.toLowerCase() === "t") flip("true");
    else return;
    event.preventDefault();
  });
  let start = null;
  stage.addEventListener("touchstart", (event) => { start = event.changedTouches[0].clientX; }, { passive: true });
  stage.addEventListener("touchend", (event) => {
    const moved = event.changedTouches[0].clientX - start;
    if (Math.abs(moved) > 40) show(at + (moved < 0 ? 1 : -1));
  });
  show(0);

  function show(wanted) {
    at = Math.max(0, Math.min(faces.length - 1, wanted));
    const face = faces[at];
    stage.replaceChildren(...data.panes.map(([name, sets]) => pane(face, name, sets)));
    title.replaceChildren(element("b", "", face.title), element("span", "", face.note));
    place.textContent = `${at + 1} / ${faces.length}`;
    slider.value = at;
    back.disabled = at === 0;
    on.disabled = at === faces.length - 1;
    fillStrip();
  }

  function pane(face, name, sets) {
    const figure = element("figure"), drawing = svg("svg", { viewBox: `0 0 ${face.side} ${face.side}` });
    const picture = svg("image", { width: face.side, height: face.side, href: face.image });
    drawing.append(picture);
    for (const set of sets) drawing.append(points(face, set));
    figure.append(drawing);
    if (data.panes.length > 1) figure.append(element("figcaption", "", name));
    return figure;
  }

  function points(face, set) {
    const group = svg("g", { class: colours[set] }), flat = face.sets[set];
    if (hidden.has(colours[set])) group.setAttribute("visibility", "hidden");
    for (const [a, b] of data.edges) {
      group.append(svg("line", { x1: flat[2 * a], y1: flat[2 * a + 1], x2: flat[2 * b], y2: flat[2 * b + 1] }));
    }
    for (let i = 0; i < flat.length; i += 2) {
      group.append(svg("circle", { cx: flat[i], cy: flat[i + 1], r: face.side / 130 }));
    }
    return group;
  }

  function fillStrip() {
    const first = Math.floor(at / perStrip) * perStrip;
    strip.replaceChildren(...faces.slice(first, first + perStrip).map((face, i) => {
      const small = button("", face.title, () => { show(first + i); viewer.focus({ preventScroll: true }); });
      const picture = element("img");
      Object.assign(picture, { src: face.image, alt: "" });
      if (first + i === at) small.setAttribute("aria-current", "true");
      small.append(picture);
      return small;
    }));
  }

  function flip(name) {
    if (!hidden.delete(name)) hidden.add(name);
    for (const [own, toggle] of toggles) toggle.setAttribute("aria-pressed", String(!hidden.has(own)));
    for (const group of stage.querySelectorAll("g." + name)) {
      group.setAttribute("visibility", hidden.has(name) ? "hidden" : "visible");
    }
  }

  function element(tag, className = "", text = "") {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text) made.textContent = text;
    return made;
  }
  function button(text, label, act) {
    const made = element("button", "", text);
    made.type = "button";
    made.setAttribute("aria-label", label);
    made.addEventListener("click", act);
    return made;
  }
  function svg(tag, attributes) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }
}
