"""The pictures of a result with the lens over them, as a matplotlib figure."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from bauklens.arguments import chosen_layers
from bauklens.errors import LensError
from bauklens.result.pictures import Picture
from bauklens.result.result import LensResult
from bauklens.result.targets import Which
from bauklens.result.tokens import printable
from bauklens.show.figures import new_figure, short
from bauklens.show.nouns import layer_called, noun
from bauklens.show.numbers import readable_probability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ABREAST = 3
"""The most pictures beside each other."""

_SIDE = 4.5
"""The size of a picture, in inches."""

_ROOM = 0.35
"""The least size of a patch with a text, in inches."""

_STRONGEST = 0.8
"""How opaque a patch is at the largest probability of the scale."""


def picture_figure(result: LensResult, layer: int | str = -1, token: Which | None = None) -> "Figure":
    """Every picture of a result with its patches over it.

    Args:
        layer: the label or number of a layer; negative ones count blocks from the last.
        token: a target, or a token by its id or its text, whose probability is shown. It is known in every patch if the
            token was followed; otherwise only in patches with the token in their top k, and the others are hatched. By
            default, each patch shows its most probable token.

    Raises:
        LensError: matplotlib is not installed, it is not known for any position which part of a picture it reads, or
            the layer or token is unknown.
    """
    pictures = [picture for picture in result.pictures if np.isin(result.positions, picture.grid).any()]
    if not pictures:
        raise LensError("for no position of this lens is it known which part of a picture it reads")
    (row,) = chosen_layers(result.layers, layer)
    values, name, exact = (result.top_probs[..., 0], "", True) if token is None else _followed(result, token)
    rows, across = -(-len(pictures) // _ABREAST), min(len(pictures), _ABREAST)
    figure = new_figure(figsize=(_SIDE * across + 0.8, _SIDE * rows + 0.6))
    grid = figure.subplots(rows, across, squeeze=False)
    most = 1.0 if token is None else _largest(result, pictures, values) or 1.0
    for axes, picture in zip(grid.flat, pictures, strict=False):
        _draw(axes, result, picture, row, values[row], most, is_of_tops=token is None)
    for axes in grid.flat[len(pictures) :]:
        axes.set_axis_off()
    what = f"Top {noun(result)} of each patch" if token is None else f"Probability of “{name}” in each patch"
    lines = [f"{what}, {layer_called(result.layers[row])}", _range(result, pictures, values[row])]
    lines[1] += "" if exact else f"; hatched: not in the top {result.topk}"
    figure.suptitle("\n".join(lines), fontsize=10, parse_math=False)
    of = f"the top {noun(result)}" if token is None else f"“{name}”"
    end = "" if token is None else f", from 0 to {readable_probability(most)},\nthe largest in any layer"
    _bar(figure, grid, most, f"probability of {of}{end}")
    return figure


def _range(result: LensResult, pictures: list[Picture], values: np.ndarray) -> str:
    """The least and the largest known value of a layer at the positions of some pictures, in words."""
    known = values[_inside(result, pictures)]
    known = known[~np.isnan(known)]
    if not known.size:
        return "No probability is known in this layer"
    low, high = (readable_probability(float(end)) for end in (known.min(), known.max()))
    return f"Probabilities in this layer: {low} to {high}"


def _inside(result: LensResult, pictures: list[Picture]) -> np.ndarray:
    """Whether each position reads a part of any of some pictures, (position,) bool."""
    return np.isin(result.positions, np.concatenate([picture.grid.ravel() for picture in pictures]))


def _largest(result: LensResult, pictures: list[Picture], values: np.ndarray) -> float:
    """The largest known value at the positions of some pictures, in any layer, so figures of layers are comparable."""
    return float(np.nan_to_num(values[:, _inside(result, pictures)]).max(initial=0.0))


def _followed(result: LensResult, token: Which) -> tuple[np.ndarray, str, bool]:
    """A token's probability in every cell, (layer, position), its name, and whether it is known everywhere."""
    if any(token in (each.text, each.token_ids, *each.token_ids[:1]) for each in result.targets):
        target = result.target(token)
        return target.probability, short(result, target.text), True
    found = [each for each, text in result.vocabulary.items() if token in (each, text)]
    if not found:
        raise LensError(
            f"{token!r} is not among the targets, and in no top {result.topk} of this lens: pass it in "
            "logit_lens(..., targets=[...])"
        )
    if len(found) > 1:
        told = ", ".join(map(str, found))
        raise LensError(f"{token!r} is the text of {len(found)} tokens: pass the id of one of them, {told}")
    is_it = result.top_ids == found[0]
    held = (result.top_probs * is_it).sum(axis=-1)
    return np.where(is_it.any(axis=-1), held, np.nan), short(result, result.vocabulary[found[0]]), False


def _draw(
    axes: "Axes",
    result: LensResult,
    picture: Picture,
    row: int,
    values: np.ndarray,
    most: float,
    *,
    is_of_tops: bool,
) -> None:
    """One picture: the image, a patch for each position that reads a part, and its text if there is room."""
    from matplotlib.patches import Rectangle

    rows, across = picture.grid.shape
    if picture.image:
        pixels = _pixels(picture)
        axes.imshow(_faded(pixels), extent=(0, across, rows, 0), aspect="auto", alpha=0.75)
        axes.set_box_aspect(pixels.shape[0] / pixels.shape[1])
    else:
        axes.set_box_aspect(rows / across)
    axes.set(xlim=(0, across), ylim=(rows, 0), xticks=[], yticks=[])
    axes.set_facecolor("0.93")
    axes.set_title(printable(picture.name), fontsize=9, parse_math=False)
    columns = {int(position): column for column, position in enumerate(result.positions)}
    colours = _colours()
    for (down, beside), position in np.ndenumerate(picture.grid):
        column = columns.get(int(position))
        if column is None:
            continue
        value = float(values[column])
        unknown = np.isnan(value)
        strength = 0.0 if unknown else _STRONGEST * min(1.0, value / most)
        colour = (*colours[:3], strength)
        hatch = "///" if unknown else None
        axes.add_patch(Rectangle((beside, down), 1, 1, facecolor=colour, edgecolor=(1, 1, 1, 0.6), hatch=hatch, lw=0.5))
        if _SIDE / max(rows, across) >= _ROOM and not unknown:
            text = (
                short(result, result.vocabulary[int(result.top_ids[row, column, 0])]) if is_of_tops else f"{value:.2g}"
            )
            plate = {"facecolor": (1, 1, 1, 0.8), "edgecolor": "none", "boxstyle": "round,pad=0.1"}
            size = max(4.5, min(8, 26 / max(rows, across)))
            middle = (beside + 0.5, down + 0.5)
            axes.text(
                *middle, text, ha="center", va="center", fontsize=size, bbox=plate, clip_on=True, parse_math=False
            )


def _pixels(picture: Picture) -> Any:
    import matplotlib.image

    try:
        return matplotlib.image.imread(io.BytesIO(picture.image), format=picture.kind)
    except Exception:
        raise LensError(f"the image of {printable(picture.name)!r} is damaged") from None


def _faded(pixels: Any) -> np.ndarray:
    """(height, width, 3) 0..1, with most of the colour removed, so that the colours of the patches are visible."""
    scaled = np.asarray(pixels, np.float32) / (255 if pixels.dtype == np.uint8 else 1)
    colour = np.repeat(scaled[..., None], 3, axis=-1) if scaled.ndim == 2 else scaled[..., :3]
    grey = colour.mean(axis=-1, keepdims=True)
    faded: np.ndarray = np.clip(grey + 0.4 * (colour - grey), 0, 1)
    return faded


def _colours() -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return to_rgb("#1d5fd1")


def _bar(figure: "Figure", grid: Any, most: float, label: str) -> None:
    """The scale of the colours."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    colour = _colours()
    strong = tuple(1 - _STRONGEST * (1 - part) for part in colour)
    scale = LinearSegmentedColormap.from_list("probability", [(1, 1, 1), strong])
    drawn = ScalarMappable(Normalize(0, most), scale)
    figure.colorbar(drawn, ax=list(grid.flat), shrink=0.7).set_label(label, parse_math=False)
