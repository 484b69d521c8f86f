"""Images through Pillow: one format per kind of file, all of one class."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

from eagerly.datasets.formats._format import Format, check_options, reading
from eagerly.datasets.formats._library import class_named, describe, is_exactly, load_library
from eagerly.errors import DatasetFormatError

__all__ = ["IMAGES", "ImageFormat"]


class Kind(NamedTuple):
    """A kind of image file, and what Pillow calls it."""

    name: str
    extensions: tuple[str, ...]
    pillow: str
    options: tuple[str, ...]


SHARED = ("dpi", "exif", "icc_profile", "save_all", "append_images", "duration", "loop")

KINDS = (
    Kind("png", (".png",), "PNG", (*SHARED, "optimize", "compress_level", "transparency", "pnginfo", "bits")),
    Kind("jpeg", (".jpg", ".jpeg"), "JPEG", (*SHARED, "quality", "optimize", "progressive", "subsampling", "qtables")),
    Kind("webp", (".webp",), "WEBP", (*SHARED, "lossless", "quality", "alpha_quality", "method", "exact")),
    Kind("tiff", (".tif", ".tiff"), "TIFF", (*SHARED, "compression", "quality", "tiffinfo", "description")),
    Kind("gif", (".gif",), "GIF", (*SHARED, "optimize", "transparency", "disposal", "interlace")),
    Kind("bmp", (".bmp",), "BMP", ("dpi",)),
)


class ImageFormat(Format):
    """A ``PIL.Image``, or an array of uint8 of shape (height, width), (height, width, 3) or (height, width, 4).

    Loaded as a ``PIL.Image.Image``, or with ``return_type=numpy.ndarray`` as an array. PNG, TIFF and BMP keep every
    pixel; JPEG does not, nor WebP without ``lossless=True``, and GIF keeps 256 colours. An image of several frames is
    refused unless ``save_all=True`` keeps them.

    Options: those of Pillow's ``Image.save`` for the kind of file, for example ``quality`` for JPEG.
    """

    takes = "a PIL image, or an array of uint8 of shape (height, width), (height, width, 3) or (height, width, 4)"
    libraries = ("pillow",)
    types = ("PIL.Image.Image", "numpy.ndarray")

    def __init__(self, kind: Kind) -> None:
        self.name = kind.name
        self.extensions = kind.extensions
        self._kind = kind

    def fits(self, value: Any, /) -> bool:
        if is_exactly(value, "numpy.ndarray"):
            shape = value.shape
            return value.dtype == "uint8" and (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4)))
        image = class_named("PIL.Image.Image")
        return image is not None and isinstance(value, image)

    def save(self, value: Any, file: BinaryIO, options: Mapping[str, Any], /) -> None:
        check_options(self.name, options, self._kind.options)
        self.require_fit(value)
        pillow = load_library("PIL.Image", f"the {self.name} format")
        image = pillow.fromarray(value) if is_exactly(value, "numpy.ndarray") else value
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and not options.get("save_all", False):
            raise DatasetFormatError(
                f"this {describe(value)} has {frames} frames, of which {self.name} would keep one; write "
                "options={'save_all': True} to keep all, or image.copy() to keep the current one"
            )
        data = io.BytesIO()  # some kinds of file are written back and forth, and what Pillow refuses is an OSError too
        try:
            image.save(data, format=self._kind.pillow, **options)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DatasetFormatError(
                f"{self.name} cannot hold this image of mode {image.mode!r} and size {image.size}: {error}; "
                "for example image.convert('RGB') can be held by all"
            ) from error
        data.seek(0)
        written = pillow.open(data, formats=[self._kind.pillow])  # looks at the head only
        if written.mode != image.mode and frames == 1:  # each frame may have a mode of its own
            raise DatasetFormatError(
                f"{self.name} would make mode {written.mode!r} of mode {image.mode!r}; write "
                f"image.convert({written.mode!r}) if that is meant, or save as png or tiff"
            )
        file.write(data.getbuffer())

    def load(self, file: BinaryIO, return_type: Any, options: Mapping[str, Any], /) -> Any:
        check_options(self.name, options, ())
        wanted = self.wanted(return_type)
        pillow = load_library("PIL.Image", f"the {self.name} format")
        with reading(self.name):
            image = pillow.open(io.BytesIO(file.read()), formats=[self._kind.pillow])
            image.load()
        if wanted == "numpy.ndarray":
            return load_library("numpy", "an image as an array").array(image)
        # A copy is a plain image that does not hold on to the bytes; frames need them.
        return image if getattr(image, "n_frames", 1) > 1 else image.copy()


IMAGES = tuple(ImageFormat(kind) for kind in KINDS)
