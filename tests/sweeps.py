"""A small corpus and a tiny model on the disk, for the tests of sweeps."""

import hashlib
import json
import random

from tests.tiny import tiny_model, tiny_tokenizer

WORDS = ["the", "city", "of", "in", "a", "tower", "sea", "is", "water", "and", "or", "it", "was", "not"]


def write_model(folder, name="gpt2", seed=0):
    """A tiny model with its tokenizer, as a user would have it."""
    tiny_model(name, seed=seed).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def prompts_of(count, *, longest=12, seed=0):
    """Prompts of different lengths, each with a language and a number."""
    drawn = random.Random(seed)
    return [
        {
            "prompt": " ".join(drawn.choices(WORDS, k=drawn.randrange(2, longest))),
            "language": drawn.choice(["en", "fr", None]),
            "score": drawn.random(),
        }
        for _ in range(count)
    ]


def write_prompts(path, rows):
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def digests(folder):
    """Name of each shard -> the hash of its bytes."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("part-*.parquet"))}
