"""generate(): how a model continues a prompt with edits, next to its continuation without them."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from bauklens.arguments import checked_count, one_of
from bauklens.edits.bound import Bound, acting, bound
from bauklens.edits.edit import Edits, edits_in
from bauklens.edits.setting import Setting
from bauklens.errors import LensError
from bauklens.model.encoding import Prompt, encode
from bauklens.model.generation import chat_ids, continued
from bauklens.model.in_hand import in_hand
from bauklens.model.inputs import Inputs
from bauklens.model.provenance import model_name
from bauklens.model.resolving import resolve
from bauklens.model.together import together
from bauklens.result.generation import Generation
from bauklens.result.tokens import token_texts


@together
def generate(
    model: nn.Module,
    tokenizer: Any,
    prompt: Prompt = None,
    *,
    edits: Any = None,
    max_new_tokens: int = 20,
    messages: Sequence[Mapping[str, Any]] | None = None,
    control: str | None = "random",
    controls: int = 1,
    seed: int = 0,
    results: str = "first",  # noqa: ARG001 - read by together()
    **options: Any,
) -> Generation:
    """Continues a prompt without edits, with edits, and with random directions instead of the edits' own.

    Each edit has its own ``positions=``: by default all, those of the prompt and the generated ones.

    Args:
        model: as for :func:`bauklens.logit_lens`.
        tokenizer: its tokenizer.
        prompt: as for :func:`bauklens.logit_lens`.
        messages: a chat instead of the prompt.
        edits: an edit or a sum of them (:mod:`bauklens.edits`); None for no edits.
        max_new_tokens: the maximum number of tokens to generate.
        control: ``"random"``, or None for no control. Edits without directions, such as ``zero``, have no control.
        controls: how many random controls.
        seed: the seed of the first control, and of sampling if the options ask for that.
        results: for a model spread over several ranks, which of them get the result: ``"first"`` or ``"all"``.
        options: options of transformers' ``generate``, which is greedy by default.

    Raises:
        LensError: as for :func:`bauklens.logit_lens`.
    """
    one_of("control", control, ("random", None))
    count = checked_count("controls", controls) if control else 0
    model, tokenizer = in_hand(model, tokenizer)
    if (prompt is None) == (messages is None):
        raise LensError("pass a prompt or messages, not both")
    inputs = encode(model, tokenizer, prompt if messages is None else chat_ids(tokenizer, messages))

    def said(edited: Bound | None) -> list[int]:
        with acting(model, edited) as running:
            found: Inputs = continued(running, tokenizer, inputs, max_new_tokens, seed=seed, options=options)
        return [int(each) for each in found.ids[0, inputs.count :]]

    def text(ids: Sequence[int]) -> str:
        texts = token_texts(tokenizer, ids)
        return str(tokenizer.decode(list(ids))) if tokenizer is not None else "".join(texts[each] for each in ids)

    clean, name, prompted = said(None), model_name(model), text(inputs.ids[0].tolist())
    if edits is None:
        return Generation(name, prompted, text(clean), tuple(clean))
    parts = Edits(edits_in(edits))
    setting = Setting(model, tokenizer, resolve(model, inputs), inputs)
    made = bound(list(parts), setting)
    ids = said(made)
    seeds = range(seed, seed + count) if parts.can_be_random else ()
    random = tuple(text(said(bound(list(parts.randomized(each)), setting))) for each in seeds)
    return Generation(name, prompted, text(ids), tuple(ids), tuple(made.described), text(clean), random)
