"""``fanlight data pack``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fanlight.cli.console import out, progress_bar
from fanlight.cli.faces import MarkupOption, PartitionsOption, check_with_bar, markup_of, refuse, tell_skipped

if TYPE_CHECKING:
    from fanlight.data.pack_file import Description


def pack(
    index: Annotated[Path, typer.Argument(metavar="INDEX.tsv", help="The index of a data set.")],
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder.")],
    partition: PartitionsOption = None,
    markup: MarkupOption = None,
    margin: Annotated[
        float,
        typer.Option(help="Side of the square kept around a face, over the side of the crop in training."),
    ] = 2.0,
    size: Annotated[
        int, typer.Option(help="Longest side of a packed photo in px; larger ones are shrunk.")
    ] = 512,
    form: Annotated[
        Literal["jpeg", "raw"],
        typer.Option("--format", help="jpeg, or raw pixels: twelve times as large, no decoding."),
    ] = "jpeg",
    quality: Annotated[int, typer.Option(help="Of JPEG files that have to be made anew.")] = 95,
    shard_mib: Annotated[int, typer.Option(help="A tar file is closed once it is that large.")] = 64,
    skip_invalid: Annotated[
        bool,
        typer.Option(
            "--skip-invalid", help="Leave out faces that cannot be used; DIR/skipped.tsv lists them."
        ),
    ] = False,
) -> None:
    """Pack the faces of an index into tar files: cut out, with labels, checked once and for all."""
    from fanlight.data.index import Index
    from fanlight.data.packing import PackOptions, write_pack

    options = PackOptions(margin, size, form, quality, shard_mib)
    faces = Index.read(index)
    faces = faces.select(partition) if partition else faces
    chosen = markup_of(faces, markup)
    problems = check_with_bar(faces, chosen)
    bad = refuse(faces, problems, skip_invalid)
    kept = faces.drop(bad)
    with progress_bar("packing faces", len(kept)) as bar:
        description = write_pack(kept, chosen, folder, options, problems, bar.reach)
    tell_skipped(len(bad), faces, folder / "skipped.tsv")
    _print(description, folder)


def _print(description: Description, folder: Path) -> None:
    photos, faces = description.photos, description.faces
    size = sum(file.bytes for file in [*description.tables, *description.shards])
    out.print(
        f"{faces} faces, {size / 2**20:.1f} MiB in {len(description.shards)} tar files; {photos.kept} photos "
        f"as they were, {photos.cut} cut out, {faces - photos.kept - photos.cut} others stored anew"
    )
    out.print(str(folder))
