// Where photos come in, the strip of photos, and the choice of faces.

const $ = (id) => document.getElementById(id);

export class Shelf {
  #items = new Map();

  /** hand: choosePhoto(photo), chooseFace(index). */
  constructor(hand) {
    this.hand = hand;
  }

  /** hand: open(files), loadPts(file). */
  listen(hand) {
    const take = (input, then) =>
      input.addEventListener("change", () => {
        const files = [...input.files];
        input.value = "";
        if (files.length) then(files);
      });
    take($("files"), hand.open);
    take($("pts-file"), ([file]) => hand.loadPts(file));
    const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    addEventListener("dragover", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      $("catch").hidden = false;
    });
    addEventListener("dragleave", (event) => event.relatedTarget || ($("catch").hidden = true));
    addEventListener("drop", (event) => {
      $("catch").hidden = true;
      if (!holdsFiles(event)) return;
      event.preventDefault();
      hand.open(event.dataTransfer.files);
    });
    addEventListener("paste", (event) => event.clipboardData?.files.length && hand.open(event.clipboardData.files));
  }

  update({ photos, photo }) {
    this.#film(photos, photo);
    this.#faces(photo);
  }

  #film(photos, current) {
    $("film").hidden = photos.length < 2;
    for (const photo of photos) {
      if (!this.#items.has(photo)) this.#items.set(photo, this.#add(photo));
      const { item, button } = this.#items.get(photo);
      if (photo.thumb && button.firstChild !== photo.thumb) button.replaceChildren(photo.thumb);
      item.classList.toggle("dirty", photo.dirty);
      item.classList.toggle("bad", photo.state === "bad");
      button.title = photo.state === "bad" ? photo.message : photo.name;
      button.setAttribute("aria-label", `${photo.name}${photo.dirty ? ", not saved" : ""}${photo.state === "bad" ? ", cannot be used" : ""}`);
      button.setAttribute("aria-current", photo === current);
    }
  }

  #add(photo) {
    const item = document.createElement("li");
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "…" });
    button.addEventListener("click", () => this.hand.choosePhoto(photo));
    item.append(button);
    $("film").append(item);
    return { item, button };
  }

  #faces(photo) {
    const faces = photo?.faces ?? [];
    const list = $("faces");
    list.hidden = faces.length < 2;
    while (list.children.length > faces.length) list.lastChild.remove();
    while (list.children.length < faces.length) {
      const index = list.children.length;
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: `Face ${index + 1}` });
      button.addEventListener("click", () => this.hand.chooseFace(index));
      list.append(button);
    }
    faces.forEach((face, i) => {
      list.children[i].setAttribute("aria-current", i === photo.current);
      list.children[i].textContent = `Face ${i + 1}${photo.isDirty(face) ? " •" : ""}`;
    });
  }
}
