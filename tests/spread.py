"""Models that are spread over ranks: what is asked of them, and a program that asks it on each of several ranks.

``python tests/spread.py SIZE FOLDER`` forks for each rank. What each finds is in FOLDER/RANK.pickle, and what it says
in FOLDER/RANK.txt.
"""

import os
import pickle
import socket
import sys
import time
from errno import ENOSPC
from functools import partial
from pathlib import Path

import numpy as np
import torch

import bauklens
from bauklens import LensError, edits
from bauklens.corpus.columns import Columns
from bauklens.decode.unembed import Unembed
from bauklens.model import head_shard, ranks
from tests.sweeps import digests

IDS = [7, 301, 44, 5, 5, 118, 260, 9, 77, 13]
OTHER = [7, 301, 44, 5, 8, 118, 260, 9, 77, 13]
LONG = [(37 * place + 11) % 319 for place in range(48)]
TEXTS = [[(place * number + 3) % 317 for place in range(20)] for number in range(5, 13)]
SETS = {"targets": [5, 260, {"several": [1, 2, 300, 161, 160]}], "mass": {"many": [*range(0, 300, 7)], "one": [3]}}
MODELS = ("llama", "tied", "gemma2", "cohere", "phi", "mixtral")
SOME = ("llama", "gemma2", "phi")
PATIENCE = 1.0
FEW = (
    *("everything", "defaults", "deltas", "decoded together"),
    *("nearest tokens", "heads", "attention", "text", "fit of ridge"),
)
"""What three ranks are asked for."""
_ALL = {"results": "all"}


class Warm:
    """A decoder with temperatures."""

    name, layers, temperatures = "warm", ("embed", "0", "1"), {"0": 2.0, "1": 0.5}

    def __call__(self, states, layers):
        return 1.1 * states + 0.1


def tables(model, name):
    """What is asked of a model -> how, of which there is a table to compare."""
    lens = partial(bauklens.logit_lens, model, None, **_ALL)
    yield "everything", partial(lens, IDS, measures="all", track=64, **SETS)
    if name != "llama":
        return
    yield "defaults", partial(lens, IDS)
    yield "many", partial(lens, IDS, topk=120, positions=[0, 3, 9], layers=["embed", 1], track=0)
    yield "deltas", partial(lens, IDS, stream="delta", norm="final", measures="all")
    yield "streams", partial(lens, IDS, stream=["hidden", "attention", "mlp", "mid"])
    yield "decoders", partial(lens, IDS, decoder=[None, Warm()], measures="all")
    yield "a few rows at a time", partial(lens, IDS, chunk_rows=3, measures="all")
    yield "several prompts", partial(lens, [IDS, IDS[:4], IDS[2:]])
    yield "decoded together", partial(lens, [IDS, IDS[:4], IDS[2:], OTHER], measures="all", track=0, **SETS)
    yield "edited", partial(lens, IDS, edits=edits.zero("mlp", layers=1))
    yield "generated", partial(lens, IDS, max_new_tokens=3)
    yield "vectors", partial(bauklens.decode_states, model, None, torch.eye(48)[:3], targets=[3], **_ALL)


def others(model):
    """Other functions -> how their numbers are had."""
    prompt = (model, None, IDS)
    first, second = edits.zero("mlp", layers=1), edits.steer(None, 5, layers=1)
    yield "nearest tokens", lambda: bauklens.nearest_tokens(*prompt, **_ALL).top_ids
    yield "nearest by cosine", lambda: bauklens.nearest_tokens(*prompt, metric="cosine", **_ALL).top_ids
    yield "neurons", lambda: bauklens.top_neurons(*prompt, layer=1, position=-1, **_ALL).contributions
    yield "contributions", lambda: len(bauklens.contributions(*prompt, 5, **_ALL).parts)
    yield "heads", lambda: bauklens.logit_lens(*prompt, stream="heads", **_ALL).top_probs
    yield "attention of a lens", lambda: bauklens.logit_lens(*prompt, attention=True, **_ALL).attended.weights
    yield "attention", lambda: bauklens.attention(*prompt, 1, **_ALL).weights
    yield "effect", lambda: bauklens.trace_effect(*prompt, OTHER, 5, **_ALL).difference
    yield "effect of heads", lambda: bauklens.trace_effect(*prompt, OTHER, 5, where="heads", **_ALL).difference
    yield "edit", lambda: bauklens.intervene(*prompt, first, targets=[5], **_ALL).probability["edited"]
    yield "edit of a token", lambda: bauklens.intervene(*prompt, second, targets=[5], **_ALL).probability["edited"]
    yield "text", lambda: bauklens.generate(*prompt, edits=first, max_new_tokens=4, **_ALL).token_ids
    yield "score", lambda: of_score(bauklens.score_decoder("logit", model, None, TEXTS, **_ALL))
    yield "states", lambda: bauklens.get_hidden_states(*prompt).numpy()
    for method in ("ridge", "jacobian"):
        yield f"fit of {method}", partial(fitted, model, method)


def swept(model, rank, folder):
    """A sweep by all ranks, which is one worker: what it returns on each, and the hash of its files."""
    found = bauklens.sweep(TEXTS, folder / f"swept-{torch.distributed.get_world_size()}", model, per=3, measures="all")
    return found.shards, found.runs, digests(found.folder) if rank == 0 else {}


def of_score(scores):
    return np.stack([each for measures in scores.value.values() for each in measures.values()])


def fitted(model, method):
    few = {"tokens": 8, "length": 10} if method == "jacobian" else {"tokens": 60, "length": 20}
    decoder = bauklens.fit_decoder(model, None, TEXTS, method=method, layers=[1], skip_first=1, **few)
    return decoder(torch.ones(1, 2, 48), ["1"]).numpy()


def outcome(ask):
    """What a call gives: an array, a result, or the text of its error."""
    try:
        return ask()
    except LensError as error:
        return f"LensError: {error}"


def arrays(lens):
    """The numbers of a lens, or of several."""
    if isinstance(lens, list):
        return {f"{number} {name}": each for number, one in enumerate(lens) for name, each in arrays(one).items()}
    found = {"ids": lens.top_ids, "probabilities": lens.top_probs, "by": lens.provenance["decoding"]["by"]}
    found |= {f"measure {name}": each for name, each in lens.measures.items()}
    for each in lens.targets:
        found |= {f"probability of {each.text}": each.probability, f"rank of {each.text}": each.rank}
    if lens.tracked is not None:
        found |= {"tracked": np.array(lens.tracked.token_ids), "tracked ranks": lens.tracked.rank}
    return found


def table(ask):
    found = outcome(ask)
    return found if isinstance(found, str) else arrays(found)


def timed(ask):
    began = time.monotonic()
    found = outcome(ask)
    return found, time.monotonic() - began


def load(folder, **config):
    from transformers.distributed import DistributedConfig

    return bauklens.load(folder, device="cpu", distributed_config=DistributedConfig(**config))[0]


def found_on(rank, size, folder):
    """All that one rank is asked for."""
    found = {"tables": {}, "others": {}}
    models = {name: load(folder / name, tp_size=size) for name in (MODELS if size == 2 else SOME)}
    for name, model in models.items():
        asked = {(name, what): ask for what, ask in tables(model, name) if size == 2 or what in FEW}
        found["tables"] |= {what: table(ask) for what, ask in asked.items()}
    model = models["llama"]
    found["others"] = {what: outcome(ask) for what, ask in others(model) if size == 2 or what in FEW}
    found |= disagreements(model, rank) | costs(model)
    found["short of memory"] = short_of_memory(model, rank)
    found["swept"] = swept(model, rank, Path(folder))
    found["failed sweeps"] = failed_sweeps(model, Path(folder))
    found["drawn"] = drawn(model, rank)
    found["with noise"] = with_noise(model, rank)
    found["compared"] = compared(model, bauklens.load(folder / "llama", device="cpu")[0])
    ordered = {"topk": 5, "layers": [1]} if rank else {"layers": [1], "topk": 5}
    found["in another order"] = table(partial(bauklens.logit_lens, model, None, IDS, **ordered, **_ALL))
    weight = model.lm_head.weight
    found["rows of the head"] = table(partial(bauklens.decode_states, model, None, weight[:2], **_ALL))
    added = edits.add(weight[5], layers=1)
    found["row of the head added"] = table(partial(bauklens.logit_lens, model, None, IDS, edits=added, **_ALL))
    found["first"] = bauklens.logit_lens(model, None, IDS) is None
    found["own"] = model(torch.tensor([IDS])).logits.shape[-1], type(model.lm_head).__name__
    plans = {
        "by rows": {"tp_size": size, "tp_plan": {"lm_head": "rowwise_split_input"}},
        "apart": {"tp_size": size, "tp_plan": {"lm_head": "colwise"}},
        "stages": {"pp_size": size},
        "sharded": {"fsdp_size": size},
    }
    for what, config in plans.items():
        found[what] = table(partial(bauklens.logit_lens, load(folder / "llama", **config), None, IDS, **_ALL))
    if size == 2:
        expert = load(folder / "mixtral", tp_size=size, ep_size=size)
        found["experts"] = table(
            partial(bauklens.logit_lens, expert, None, IDS, measures="all", track=64, **SETS, **_ALL)
        )
        sharded = load(folder / "llama", fsdp_size=size)
        found["sharded others"] = {what: outcome(ask) for what, ask in others(sharded) if what != "score"}
    found["by torch"] = table(partial(bauklens.logit_lens, by_torch(folder, size), None, IDS, **_ALL))
    return found


def disagreements(model, rank):
    """What ranks are told that ask for different things."""
    lens = partial(bauklens.logit_lens, model, None)
    found = {
        "prompts": timed(lambda: lens(IDS if rank == 0 else [*IDS[:3], 9, *IDS[4:]])),
        "lengths": timed(lambda: lens(IDS[: 4 + rank])),
        "options": timed(lambda: lens(IDS, topk=5 + rank)),
        "edits": timed(lambda: lens(IDS, edits=edits.zero("mlp", layers=rank))),
        "decoders": timed(lambda: lens(IDS, decoder=bauklens.RidgeLens({0: torch.eye(48) * (1 + rank)}))),
        "functions": timed(lambda: lens(IDS) if rank else bauklens.attention(model, None, IDS, 0)),
        "states": timed(lambda: bauklens.get_hidden_states(model, None, IDS[: 4 + rank])),
        "numbers of numpy": timed(lambda: lens(IDS, topk=np.int64(5 + rank))),
        "many": timed(lambda: list(bauklens.lenses(TEXTS, model, topk=5 + rank))),
        "hooks": timed(lambda: with_a_hook(model, rank)),
        "numbers of prompts": timed(lambda: bauklens.summarize(iter(TEXTS[: 3 + rank]), model)),
    }
    if rank == 0:
        usual, ranks.PATIENCE = ranks.PATIENCE, PATIENCE
        found["alone"] = timed(lambda: lens(IDS))
        ranks.PATIENCE = usual
    torch.distributed.barrier()
    return found | {"again": table(lambda: lens(IDS, **_ALL))}


def with_a_hook(model, rank):
    """A lens of a model which the caller has put a hook on, on one rank only."""
    if rank == 0:
        return bauklens.logit_lens(model, None, IDS)
    handle = model.model.layers[1].register_forward_hook(lambda *_: None)
    try:
        return bauklens.logit_lens(model, None, IDS)
    finally:
        handle.remove()


def drawn(model, rank):
    """What ranks generate without a seed, whose random states differ, and what is then said of it."""
    torch.manual_seed(rank)
    options = {"max_new_tokens": 5, "do_sample": True, "temperature": 3.0}
    lens = bauklens.logit_lens(model, None, IDS, **options, **_ALL)
    text = bauklens.generate(model, None, IDS, **options, **_ALL)
    return lens.token_ids.tolist(), arrays(lens), list(text.token_ids)


def with_noise(model, rank):
    """Lenses with a function that draws random numbers, of each rank by itself."""
    torch.manual_seed(rank)

    def edited(output, layer):
        return output + 0.1 * torch.randn_like(output)

    def decoder(states, layers):
        return states + 0.1 * torch.randn_like(states)

    given = {"edit_output": edited}, {"decoder": decoder}
    return [outcome(partial(bauklens.logit_lens, model, None, IDS, **each)) for each in given]


def compared(model, ordinary):
    """Two models, one of which is spread, in both orders: what is returned, and how far they are apart."""
    pairs = [(model, ordinary), (ordinary, model)]
    found = [bauklens.compare_models(*pair, None, IDS) for pair in pairs]
    each = [bauklens.compare_models(*pair, None, IDS, **_ALL).measures["kl"].max() for pair in pairs]
    return [one is None for one in found], each


def failed_sweeps(model, folder):
    """What every rank is told if the first cannot write, and what a sweep that was ended by that becomes."""
    size = torch.distributed.get_world_size()
    begun, full = folder / f"swept-{size}", folder / f"full-{size}"
    found = {"other": timed(lambda: bauklens.sweep(TEXTS, begun, model, per=3, topk=3))}
    of = Columns.of

    def without_room(columns, number, row, lens):
        if number == 4:
            raise OSError(ENOSPC, "No space left on device")
        return of(columns, number, row, lens)

    Columns.of = without_room
    found["full"] = timed(lambda: bauklens.sweep(TEXTS, full, model, per=3, measures="all"))
    Columns.of = of
    found["resumed"] = timed(lambda: bauklens.sweep(TEXTS, full, model, per=3, measures="all").shards)
    return found


def costs(model):
    """How many bytes a rank sends for each row, and the largest tensor with an axis of the whole vocabulary."""
    sent, largest = [], []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            returned = function(*args, **(kwargs or {}))
            for each in returned if isinstance(returned, (list, tuple)) else [returned]:
                if isinstance(each, torch.Tensor) and each.ndim > 1 and each.shape[-1] >= 320:
                    largest.append(each.numel() // each.shape[-1])
            return returned

    gather = head_shard.HeadShard.gathered

    def counted(shard, own):
        sent.append(own.numel() * own.element_size())
        return gather(shard, own)

    bauklens.logit_lens(model, None, LONG[:8])  # so that the model is known
    head_shard.HeadShard.gathered = counted
    with Watch():
        lens = bauklens.logit_lens(model, None, LONG, track=0, **_ALL)
        told = sum(sent)
        bauklens.trace_effect(model, None, LONG, [*LONG[:-1], 5], 5)
    head_shard.HeadShard.gathered = gather
    return {"bytes": told / lens.top_ids[..., 0].size, "rows": max(largest, default=0)}


def short_of_memory(model, rank):
    """A table of which memory runs out on one rank alone, for more than eight rows."""
    after = Unembed.after_inputs

    def failing(unembed, inputs):
        if rank == 1 and inputs.shape[:-1].numel() > 8:
            raise MemoryError("out of memory")
        return after(unembed, inputs)

    Unembed.after_inputs = failing
    try:
        return table(partial(bauklens.logit_lens, model, None, IDS, **_ALL))
    finally:
        Unembed.after_inputs = after


def by_torch(folder, size):
    """A model that torch itself splits, with hooks of its own."""
    from torch.distributed import init_device_mesh
    from torch.distributed.tensor import Replicate
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    model, _ = bauklens.load(folder / "llama", device="cpu")
    plan = {"lm_head": ColwiseParallel(output_layouts=Replicate())}
    for block in range(len(model.model.layers)):
        plan[f"model.layers.{block}.mlp.up_proj"] = plan[f"model.layers.{block}.mlp.gate_proj"] = ColwiseParallel()
        plan[f"model.layers.{block}.mlp.down_proj"] = RowwiseParallel()
    return parallelize_module(model, init_device_mesh("cpu", (size,)), plan)


def run(rank, size, port, folder):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with (folder / f"{rank}.txt").open("w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    torch.set_num_threads(1)
    found = found_on(rank, size, folder)
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(found))
    torch.distributed.destroy_process_group()


def main(size, folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(size):
        child = os.fork()
        if not child:
            run(rank, size, port, folder)
            sys.exit()
        children.append(child)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
