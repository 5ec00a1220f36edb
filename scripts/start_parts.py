#!/usr/bin/env python3
"""One run of the steps of ``bauklens lens PROMPT -o FILE``; the last line has the end time of each part, as JSON.

Started by scripts/benchmark_start.py: .venv/bin/python scripts/start_parts.py demo "a prompt" out.html
"""

import json
import sys
import time

STAMPS: list[tuple[str, float]] = []


def stamp(part: str) -> None:
    """Notes that a part has ended."""
    STAMPS.append((part, time.time()))


def main(model: str, prompt: str, path: str) -> None:
    """Runs the parts, with the command's imports."""
    import bauklens.cli.commands  # noqa: F401 - what the command imports to read its options
    from bauklens.cli.importing import imported

    stamp("Python and the command's options")
    imported("torch")
    stamp("import torch")
    imported("transformers")
    stamp("import transformers")
    loading = imported("bauklens.model.loading")
    stamp("import what model classes need")
    loading.hide_progress()
    loaded, tokenizer = loading.load(model)
    stamp("load the model and its tokenizer")
    from bauklens.lens.lens import logit_lens

    stamp("import the lens")
    from bauklens.model.in_hand import in_hand
    from bauklens.model.inputs import Inputs
    from bauklens.model.resolving import resolve

    network, words = in_hand(loaded, tokenizer)
    resolve(network, Inputs(words(prompt, return_tensors="pt")["input_ids"].to(network.device)))
    stamp("look at the model")
    lens = logit_lens(loaded, tokenizer, prompt)
    stamp("the lens")
    from bauklens.show.terminal import print_position

    print_position(lens, lens.main_position)
    stamp("print the table")
    from bauklens.show.page import save_report

    save_report(lens, path)
    stamp("write the page")
    print(json.dumps(STAMPS), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
