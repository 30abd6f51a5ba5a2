"""LIME's section of a study file, and how an image can be cut into superpixels."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from vitrine.study.section import Ascending, Section, Seed, Unique

Samples = Annotated[int, Field(ge=2)]


class Quickshift(Section):
    """Superpixels by quickshift (Vedaldi and Soatto, 2008)."""

    method: Literal["quickshift"] = "quickshift"
    kernel_size: float = Field(default=4.0, gt=0)
    max_dist: float = Field(default=200.0, gt=0)
    ratio: float = Field(default=0.2, ge=0, le=1)


class Slic(Section):
    """Superpixels by k-means in colour and place (Achanta et al., 2012).

    n_segments : about how many superpixels. compactness : weight of place against colour.
    sigma : width of the Gaussian that smoothes first, in pixels.
    """

    method: Literal["slic"] = "slic"
    n_segments: int = Field(default=50, ge=2)
    compactness: float = Field(default=10.0, gt=0)
    sigma: float = Field(default=1.0, ge=0)


class Felzenszwalb(Section):
    """Superpixels as pieces of a minimum spanning tree (Felzenszwalb and Huttenlocher, 2004).

    scale : larger means larger pieces. sigma : width of the Gaussian that smoothes first, in
    pixels. min_size : pixels of the smallest piece.
    """

    method: Literal["felzenszwalb"] = "felzenszwalb"
    scale: float = Field(default=100.0, gt=0)
    sigma: float = Field(default=0.5, ge=0)
    min_size: int = Field(default=150, ge=1)


class Grid(Section):
    """Rectangles that know nothing of the image: what other superpixels must be better than."""

    method: Literal["grid"] = "grid"
    rows: int = Field(default=7, ge=1)
    columns: int = Field(default=7, ge=1)

    @model_validator(mode="after")
    def _more_than_one(self) -> Self:
        if self.rows * self.columns < 2:
            raise ValueError("a grid needs at least two rows or columns")
        return self


def _with_method(given: Any) -> Any:
    """A table of the study file means quickshift where it does not say."""
    return {"method": "quickshift"} | given if isinstance(given, dict) else given


Segmentation = Annotated[
    Quickshift | Slic | Felzenszwalb | Grid,
    Field(discriminator="method"),
    BeforeValidator(_with_method),
]
"""How an image is cut into superpixels, with the parameters of scikit-image's function."""


def segmentation_for(side: int) -> Quickshift | Slic:
    """What cuts an input of ``side`` pixels where nobody chose.

    Below 160 pixels quickshift finds a few large pieces, or one.
    """
    return Quickshift() if side >= 160 else Slic()


class Stability(Section):
    """How far LIME repeats: explanations with other draws, and with other numbers of samples.

    seeds, samples : so many seeds, and so many perturbed images of each.
    sample_sizes : numbers of samples that are compared. Perturbed images are drawn independently,
        so those of several seeds together are one explanation with more samples.
    """

    seeds: int = Field(default=10, ge=2)
    samples: int = Field(default=600, ge=2)
    sample_sizes: Ascending[Samples] = (100, 200, 300, 600, 1000, 2000, 3000)

    @model_validator(mode="after")
    def _numbers_can_be_compared(self) -> Self:
        # Every seed asks about the whole image first; the others of its samples can be pooled.
        drawn = self.seeds * (self.samples - 1)
        if self.sample_sizes[-1] > self.samples and drawn < 2 * (self.sample_sizes[-1] - 1):
            raise ValueError(
                f"{self.seeds} seeds of {self.samples} samples are fewer than two explanations of "
                f"{self.sample_sizes[-1]}"
            )
        return self


class Search(Section):
    """A grid of LIME's parameters, each judged on every image.

    segmentations : each with every number of ``samples`` and of ``features``.
    seeds : explanations with each, so that their stability is known.
    """

    segmentations: Unique[Segmentation] = Field(min_length=1)
    samples: Ascending[Samples] = (100, 300, 600)
    features: Ascending[Annotated[int, Field(ge=1)]] = (5, 10, 20)
    seeds: int = Field(default=2, ge=2)


class Lime(Section):
    """LIME for images (Ribeiro et al., 2016), in the terms of the library ``lime``."""

    samples: int = Field(default=1000, ge=2)
    features: int = Field(default=10, ge=1)
    kernel_width: float = Field(default=0.25, gt=0)
    batch: int = Field(default=16, ge=1)
    seed: Seed = 0
    segmentation: Segmentation = Quickshift()
    stability: Stability | None = None
    search: Search | None = None

    @property
    def segmentations(self) -> tuple[Segmentation, ...]:
        """LIME's own, then those of the search."""
        return (self.segmentation, *(self.search.segmentations if self.search else ()))
