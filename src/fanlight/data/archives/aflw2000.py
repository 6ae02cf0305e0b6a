"""AFLW2000-3D: the first 2000 faces of AFLW with the landmarks of a fitted face model.

Layout: ``image00002.jpg`` and ``image00002.mat`` side by side.

Convention: MATLAB, so counted from 1 with pixel centres at whole numbers (its own sample code plots them over
the photo so): continuous = p - 0.5. The labels are x and y of ``pt3d_68``, 68 points of which the jaw line is
that of the head, not of the visible contour; ``pt2d`` holds AFLW's 21 points, with -1 for hidden ones, and is
not read.
"""

from __future__ import annotations

from fanlight.data.archives.contents import Contents, Face, Request, nothing_found
from fanlight.data.archives.folder import walk
from fanlight.data.archives.matfile import points_of, read_mat
from fanlight.errors import InputError
from fanlight.photos import SUFFIXES

COUNT = 2000


def read(request: Request) -> Contents:
    """All faces, in one partition, aflw2000/test."""
    contents = Contents(markup="ibug68", expected={"aflw2000/test": COUNT})
    for folder in walk(request.root):
        if folder.name.lower() == "code":
            continue
        files = sorted(folder.glob("image*"))
        labels = {path.stem: path for path in files if path.suffix.lower() == ".mat"}
        photos = {path.stem: path for path in files if path.suffix.lower() in SUFFIXES}
        contents.notes += [
            f"{path}: a label without a photo" for stem, path in labels.items() if stem not in photos
        ]
        contents.notes += [
            f"{path}: a photo without a label" for stem, path in photos.items() if stem not in labels
        ]
        for stem in sorted(labels.keys() & photos.keys()):
            try:
                landmarks = points_of(labels[stem], read_mat(labels[stem], "pt3d_68")["pt3d_68"], 68) - 0.5
            except InputError as error:
                contents.problems.append(str(error))
                continue
            contents.faces.append(Face("aflw2000", "test", photos[stem], landmarks))
            request.progress(len(contents.faces), COUNT)
    if not contents.faces and not contents.problems:
        raise nothing_found(
            request.root, "image00002.jpg, image00002.mat and so on (AFLW2000-3D.zip, unpacked or not)"
        )
    return contents
