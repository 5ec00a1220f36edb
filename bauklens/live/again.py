"""The Python and the command that make a look again."""

import shlex
from typing import Any

from bauklens.live.asked import Asked, Change
from bauklens.vocabulary import LOGIT

SHOWN = '  # a notebook shows it; in a script, add .to_html("lens.html")'
"""Behind the last line of a program, which shows nothing elsewhere."""


def as_python(asked: Asked, model: str, decoders: dict[str, str]) -> str:
    """A program that makes the table of a look.

    Args:
        model: what ``load`` is given.
        decoders: the names that a page knows -> what ``load_decoder`` is given.
    """
    decoder = None if asked.decoder == LOGIT else decoders.get(asked.decoder, asked.decoder)
    options: dict[str, Any] = {} if asked.chat is None else {"messages": asked.chat}
    options |= {} if decoder is None else {"decoder": decoder}
    options |= {} if asked.stream == "hidden" else {"stream": asked.stream}
    options |= {} if asked.topk == 5 else {"topk": asked.topk}
    followed = [*asked.targets, *({name: list(tokens)} for name, tokens in asked.sets)]
    options |= {"targets": followed, "words": "first"} if followed else {}
    prompt = [] if asked.chat is not None else [repr(asked.prompt)]
    look = ", ".join(["model", "tokenizer", *prompt, *(f"{name}={value!r}" for name, value in options.items())])
    lines = ["import bauklens", "", f"model, tokenizer = bauklens.load({model!r})"]
    if asked.change is not None:
        return "\n".join([*lines, *_changed(asked, asked.change, decoder, look)]) + SHOWN
    if asked.replaced:
        return "\n".join([*lines, *_replaced(asked, look, prompt)]) + SHOWN
    look += f", max_new_tokens={asked.new_tokens}" if asked.new_tokens else ""
    return "\n".join([*lines, f"bauklens.logit_lens({look})"]) + SHOWN


def _changed(asked: Asked, change: Change, decoder: str | None, look: str) -> list[str]:
    where = f", layers={_listed(change.layers)}" if change.layers is not None else ""
    where += f", positions={_listed(change.positions)}" if change.positions is not None else ""
    strength = f", strength={change.strength:g}" if change.strength != 1 else ""
    edit = {
        "swap": f"swap({decoder!r}, {change.token!r}, {change.into!r}{strength}{where})",
        "strengthen": f"steer({decoder!r}, {change.token!r}{strength}{where})",
        "remove": f"ablate({decoder!r}, {change.token!r}{strength}{where})",
        "patch": f"patch({asked.other!r}{where})",
    }[change.do]
    prompt = "" if asked.chat is not None else f", {asked.prompt!r}"
    said = [
        *([] if asked.chat is not None else [f"print(bauklens.intervene(model, tokenizer{prompt}, edit))"]),
        f"print(repr(bauklens.generate(model, tokenizer{prompt or f', messages={asked.chat!r}'}, edits=edit)))",
    ]
    lenses = [f"clean = bauklens.logit_lens({look})", f"edited = bauklens.logit_lens({look}, edits=edit)"]
    return [f"edit = bauklens.edits.{edit}", *lenses, *said, "bauklens.compare(clean, edited)"]


def _replaced(asked: Asked, look: str, prompt: list[str]) -> list[str]:
    """The tokens that are put in are named by the ids of their first tokens."""
    several = [f"ids[{position}] = {_first_id(token)}" for position, token in asked.replaced]
    given = prompt[0] if prompt else "CHAT"
    return [
        f"clean = bauklens.logit_lens({look})",
        f"ids = tokenizer({given}).input_ids"
        if prompt
        else f"ids = tokenizer.apply_chat_template({asked.chat!r}, add_generation_prompt=True, return_dict=False)",
        *several,
        f"other = bauklens.logit_lens({_with_ids(look, prompt)})",
        "bauklens.compare(clean, other)",
    ]


def _first_id(token: str | int) -> str:
    return str(token) if isinstance(token, int) else f"tokenizer.encode({token!r}, add_special_tokens=False)[0]"


def _with_ids(look: str, prompt: list[str]) -> str:
    head, rest = "model, tokenizer", look.removeprefix("model, tokenizer")
    if prompt:
        return f"{head}, ids{rest.removeprefix(f', {prompt[0]}')}"
    return f"{head}, ids"


def _listed(values: tuple[Any, ...]) -> str:
    return "[" + ", ".join(map(repr, values)) + "]"


def as_command(asked: Asked, model: str, decoders: dict[str, str]) -> str:
    """The command that makes the page of a look; empty if the command has no option for what is asked."""
    change = asked.change
    in_change = (change.token, change.into) if change is not None else ()
    has_commas = any("," in str(token) for _, tokens in asked.sets for token in tokens)
    has_ids = any(isinstance(each, int) for each in (*asked.targets, *in_change))
    if asked.chat is not None or asked.replaced or has_commas or has_ids or (change and change.do == "patch"):
        return ""
    words = ["bauklens", "lens", "--model", model]
    words += [] if asked.decoder == LOGIT else ["--decoder", decoders.get(asked.decoder, asked.decoder)]
    words += [] if asked.stream == "hidden" else ["--stream", asked.stream]
    words += [] if asked.topk == 5 else ["--topk", str(asked.topk)]
    words += [word for target in asked.targets for word in ("--target", str(target))]
    words += [word for name, ids in asked.sets for word in ("--target-set", f"{name}={','.join(map(str, ids))}")]
    words += ["--max-new-tokens", str(asked.new_tokens)] if asked.new_tokens and change is None else []
    words += [] if change is None else _option_of(change)
    return shlex.join([*words, "-o", "lens.html", *(["--"] if asked.prompt.startswith("-") else []), asked.prompt])


def _option_of(change: Change) -> list[str]:
    words = {
        "swap": ["--swap", f"{change.token}=>{change.into}"],
        "strengthen": ["--steer", str(change.token)],
        "remove": ["--ablate", str(change.token)],
    }[change.do]
    words += [] if change.layers is None else ["--edit-layers", ",".join(change.layers)]
    words += [] if change.positions is None else ["--edit-positions", ",".join(map(str, change.positions))]
    return words + ([] if change.strength == 1 else ["--edit-strength", f"{change.strength:g}"])
