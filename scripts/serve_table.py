"""The measurements of scripts/benchmark_serve.py as a section of docs/PERFORMANCE.md."""

from typing import Any

SERVE = "performance_serve.json"
"""In docs/: the measurements of scripts/benchmark_serve.py."""


def of_the_live_page(found: dict[str, Any]) -> str:
    """The section about how soon a live page shows something, and how many pages affect it."""
    many, text = found["many"], found["text"]
    lines = [
        "## The live page",
        "",
        f"{found['model']}, {found['machine']}: `bauklens serve` in its own process, asked over HTTP as by its "
        f"page; medians of {found['rounds']} looks, alternating with the bare forward pass in another process. *First "
        "row* is the model's own answer; the others follow, starting at the first layer.",
        "",
        "| tokens | forward pass | first row | times the forward pass | whole table and its page |",
        "| ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {each['tokens']:,} | {each['forward']:.2f} s | {each['first']:.2f} s | "
            f"{each['first'] / each['forward']:.2f} | {each['whole']:.2f} s |"
            for each in found["looks"]
        ),
        "",
        f"If {text['generated']} tokens are generated after {text['tokens']}, the first row comes after "
        f"{text['first'] / text['forward']:.2f} forward passes of the prompt, and the cells of the first generated "
        f"column after {text['column']:.2f} s. Everything is there after {text['whole']:.2f} s, "
        f"{text['whole'] / text['lens']:.2f} times the time of the same `logit_lens` without a page (medians of "
        f"{text['rounds']} looks).",
        "",
        f"{many['pages']} pages asked at once, for {many['tokens']} tokens each: all were answered within "
        f"{many['seconds']:.1f} s; one after another from one page, the requests take {many['alone']:.1f} s. After "
        f"{many['looks']:,} looks the server has {many['grown'] / 1e6:+.0f} MB more than after {many['from']:,}.",
        "",
        "`.venv/bin/python scripts/benchmark_serve.py --docs`",
    ]
    return "\n".join(lines) + "\n"
