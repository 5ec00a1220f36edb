"""Results by hand whose prompts hold pictures, drawn here."""

import io

import numpy as np
from PIL import Image

import bauklens
from bauklens.result.pictures import Picture, column_labels

TEXTS = [" sky", " grass", " dog", " sun", " Look", ":", " a", "<image>", " <b>"]
SKY, GRASS, DOG, SUN, LOOK, COLON, A, IMAGE, HOSTILE = range(9)


def png(width=40, height=30):
    """A PNG file: blue above, green below."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2], pixels[height // 2 :] = (110, 170, 230), (70, 120, 50)
    drawn = io.BytesIO()
    Image.fromarray(pixels).save(drawn, "PNG")
    return drawn.getvalue()


def pictured(*grids, rows=4, image=True, name="image", changes=None, **fields):
    """A prompt ``" Look"``, the pictures, ``":"`` and ``" a"``; three tokens in each cell.

    In the last row the upper half of every picture says " sky", the lower half " grass", and its last patch " dog"; in
    every other row all of it says " sun".

    Args:
        grids: (rows, columns) of each picture.
        changes: of the fields of each picture.
    """
    tokens, pictures = [LOOK], []
    for number, (down, across) in enumerate(grids, 1):
        positions = np.arange(len(tokens), len(tokens) + down * across)
        given = {"name": f"{name} {number}", "grid": positions.reshape(down, across), "positions": positions}
        pictures.append(Picture(**given | {"image": png() if image else b""} | (changes or {})))
        tokens += [IMAGE] * (down * across)
    tokens += [COLON, A]
    top_ids = np.zeros((rows, len(tokens), 3), int) + np.array([A, LOOK, COLON])
    for picture in pictures:
        top_ids[:-1, picture.positions] = [SUN, A, SKY]
        half = len(picture.positions) // 2
        top_ids[-1, picture.positions[:half]] = [SKY, DOG, A]
        top_ids[-1, picture.positions[half:]] = [GRASS, A, SUN]
        top_ids[-1, picture.positions[-1]] = [DOG, GRASS, A]
    shape = (rows, len(tokens))
    made = {
        "model": "made",
        "prompt": "Look <image>: a",
        "stream": "hidden",
        "decoder": "logit",
        "norm": "own",
        "token_ids": tokens,
        "tokens": [TEXTS[each] for each in tokens],
        "positions": np.arange(len(tokens)),
        "layers": ["embed", *map(str, range(rows - 1))],
        "top_ids": top_ids,
        "top_probs": np.broadcast_to([0.5, 0.25, 0.125], top_ids.shape),
        "magnitude": np.arange(1.0, np.prod(shape) + 1).reshape(shape),
        "vocabulary": dict(enumerate(TEXTS)),
        "check": {"max_abs_logit_difference": 0.0},
        "measures": {"entropy": np.full(shape, 2.0)},
        "columns": column_labels(pictures, list(range(len(tokens)))) if pictures else (),
        "pictures": pictures,
    }
    return bauklens.LensResult(**made | fields)


def followed(lens, token=DOG, probability=0.25):
    """One target, as probable in every cell; a grid of values is taken as it is."""
    grid = np.broadcast_to(probability, lens.magnitude.shape)
    return {
        "text": TEXTS[token],
        "token_ids": [token],
        "part": "token",
        "note": "",
        "probability": grid,
        "logit": grid,
        "rank": np.full(lens.magnitude.shape, 2),
    }
