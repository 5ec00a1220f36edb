"""The ways to decode a run, the fastest that was proved first."""

from dataclasses import replace

from bauklens.model.anatomy import Anatomy


def ways(anatomy: Anatomy) -> dict[str, Anatomy]:
    """The name of a way in a table -> the anatomy for it: the fastest that was proved, and all slower ones."""
    replayed = replace(anatomy, post_ops=None, shards=None)
    if anatomy.shards is not None and anatomy.post_ops is None:
        return {"product in shards": replace(anatomy, post_ops=anatomy.shards)} | ways(replayed)
    each = {"product": anatomy, "replay": replayed}
    if not anatomy.single:
        each["replay of whole prompts"] = replace(replayed, whole=True)
    names = list(each)
    fastest = 2 if anatomy.whole else 1 if anatomy.post_ops is None else 0
    return {name: each[name] for name in names[fastest:]}
