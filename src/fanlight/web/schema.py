"""The API's answers. Coordinates are (x, y) in image px, continuous: the first pixel's centre is (0.5, 0.5)."""

from __future__ import annotations

from pydantic import BaseModel, Field, FiniteFloat

Point = tuple[FiniteFloat, FiniteFloat]
Box = tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]


class Health(BaseModel):
    """The server is there."""

    status: str = "ok"
    version: str
    models: int


class MarkupInfo(BaseModel):
    """A mark-up: the points of a face, its parts, and the lines between points."""

    name: str
    points: list[str]
    parts: dict[str, list[int]]
    edges: list[tuple[int, int]]


class ModelInfo(BaseModel):
    """A network that can be asked."""

    name: str
    input_size: int = Field(description="side of the crop that it sees, in px")
    markup: MarkupInfo
    crops: list[str] = Field(description="detectors for whose boxes it has a crop rule of its own")


class Limits(BaseModel):
    """What an upload may be at most."""

    bytes: int
    pixels: int
    boxes: int


class Models(BaseModel):
    """What this server can do."""

    models: list[ModelInfo]
    detector: str | None = Field(description="finds the faces where no boxes are sent; there is none if null")
    compare: str | None = Field(
        description="the network that the page compares the first one with, to begin with"
    )
    limits: Limits


class FaceFound(BaseModel):
    """One face's landmarks."""

    landmarks: list[Point]
    scores: list[float] = Field(description="height of each heatmap's peak, about 1 for a sure landmark")
    covariances: list[tuple[Point, Point]] = Field(
        description="of each heatmap around its landmark, in px squared"
    )
    box: Box = Field(description="left, top, right, bottom")
    square: tuple[float, float, float] = Field(
        description="the crop that the network saw: centre x, centre y, side"
    )
    seconds: float


class Prediction(BaseModel):
    """The faces of a photo."""

    model: str
    width: int = Field(description="of the photo as it is meant to be seen, its EXIF orientation applied")
    height: int
    crop: str | None = Field(
        description="whose boxes' rule made the crops; the rule of the training's boxes if null"
    )
    faces: list[FaceFound]
    seconds: dict[str, float] = Field(description="spent on reading the photo, on detection and on landmarks")


class Heatmaps(BaseModel):
    """What a network saw of a face, and its answer to it before decoding."""

    crop_png: str = Field(description="the crop, a PNG in base64")
    square: tuple[float, float, float] = Field(
        description="where it lies: centre x, centre y, side in image px"
    )
    size: int = Field(description="side of a heatmap in cells")
    peak: float = Field(description="the response that 255 stands for; negative ones are 0")
    heatmaps: str = Field(description="one byte a cell, landmark by landmark, row by row, in base64")


class Landmarks(BaseModel):
    """One face's landmarks."""

    landmarks: list[Point] = Field(min_length=1, max_length=10_000)
