"""Synthetic faces: heads built, lit and photographed by formulas, with exact landmarks; nothing to download.

A face is drawn from top to bottom of this list:

    person     who it is: anatomy (cm), expression, colours, style, all from one random generator
    layout     where the features lie: lids, brows, lips and nose as curves in the face's front plane
    shape      the head's surface, shaped along those curves; the landmarks are points of it
    skin       the paint in that surface, filled along the same curves (canvas: what is painted on)
    hair       further surfaces: hair, hats, ears, glasses (mesh: what a surface is)
    camera     pose and perspective; the visible contour of the jaw
    raster     which surface each pixel shows
    shade      how it is lit
    scene      background, occluders, and the camera's faults
    face       all of that for one (seed, index)
    write      many faces, with `.pts` files and an index

The landmarks are exact because nothing is measured in the image: the curve along which a lid is painted
and the surface bent is the curve on which the eye's landmarks were taken, and both go through one camera.
"""

from fanlight.data.synthetic.face import SyntheticFace, draw_face
from fanlight.data.synthetic.write import write_faces

__all__ = ["SyntheticFace", "draw_face", "write_faces"]
