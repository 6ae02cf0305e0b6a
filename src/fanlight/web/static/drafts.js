// Corrections that are not in a file yet outlive a reload: landmarks only, under the photo's name, size and date.

const PREFIX = "fanlight:draft:";
const MOST = 50;

const key = ({ file }) => `${PREFIX}${file.name}:${file.size}:${file.lastModified}`;

/** Keep a photo's faces while any has unsaved corrections; forget them once all are saved. */
export function keepDraft(photo) {
  try {
    if (!photo.dirty) return localStorage.removeItem(key(photo));
    localStorage.setItem(key(photo), JSON.stringify({ at: Date.now(), faces: photo.faces }));
    trim();
  } catch {
    // No room or no storage: the warning before leaving the page remains.
  }
}

/** {at, faces} or null. */
export function findDraft(photo) {
  try {
    const draft = JSON.parse(localStorage.getItem(key(photo)));
    return draft?.faces?.every((face) => Array.isArray(face.landmarks) && Array.isArray(face.box)) ? draft : null;
  } catch {
    return null;
  }
}

function trim() {
  const drafts = Object.keys(localStorage).filter((name) => name.startsWith(PREFIX));
  if (drafts.length <= MOST) return;
  const age = (name) => JSON.parse(localStorage.getItem(name)).at ?? 0;
  drafts.sort((one, other) => age(one) - age(other));
  drafts.slice(0, drafts.length - MOST).forEach((name) => localStorage.removeItem(name));
}
