"""The measurements of scripts/benchmark_start.py as a section of docs/PERFORMANCE.md."""

from typing import Any


def of_the_start(found: dict[str, Any]) -> str:
    """The section about how long commands take from a shell."""
    bare = found["commands"][found["bare"]]
    often = f"medians of {found['rounds']} processes each" if found["rounds"] else "one process each, not warmed up"
    lines = [
        "## From a shell",
        "",
        f"{found['model']}, a prompt of {found['tokens']} tokens, {found['machine']}, Python {found['python']}, torch "
        f"{found['torch']}, transformers {found['transformers']}: "
        f"{often}, the commands alternating, with files and bytecode in the cache. *Bare* is `import torch, "
        "transformers` and `AutoModelForCausalLM.from_pretrained`, without a tokenizer, a forward pass, or anything "
        "printed. *First output* is the first line on standard output, when that is a pipe.",
        "",
        "| | seconds | times bare | processor time | first output |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {name} | {each['seconds']:.2f} | {each['seconds'] / bare['seconds']:.2f} | {each['processor']:.2f} | "
            f"{'' if each['first'] is None else format(each['first'], '.2f')} |"
            for name, each in found["commands"].items()
        ),
        "",
        *(_parts(found["parts"]) if "parts" in found else []),
        *(_imports(found["imports"], found["not imported"]) if "imports" in found else []),
        "`.venv/bin/python scripts/benchmark_start.py --docs`",
    ]
    return "\n".join(lines) + "\n"


def _parts(parts: dict[str, float]) -> list[str]:
    return [
        "A lens can take less time than bare, as the command imports torch and transformers without Python's "
        "garbage collection, and excludes them from it afterwards.",
        "",
        "What `bauklens lens` does, part by part. Any program that loads the model imports torch and transformers too.",
        "",
        "| part | seconds |",
        "| --- | ---: |",
        *(f"| {part} | {seconds:.2f} |" for part, seconds in parts.items()),
        "",
    ]


def _imports(imports: dict[str, dict[str, Any]], others: list[str]) -> list[str]:
    return [
        "Large packages that it imports and does not need. The module beside each imports it while being imported "
        "itself. The time includes what the package imports first; it is taken under `-X importtime`, which slows all "
        "imports.",
        "",
        "| package | imported by | seconds | bare imports it |",
        "| --- | --- | ---: | --- |",
        *(
            f"| {name} | {each['by']} | {each['seconds']:.2f} | {'yes' if each['bare'] else 'no'} |"
            for name, each in imports.items()
        ),
        "",
        f"Not imported: {', '.join(others)}.",
        "",
    ]
