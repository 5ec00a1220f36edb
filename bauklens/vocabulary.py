"""The names that a caller can choose from, and what captions call them."""

EMBED = "embed"
"""The row before block 0."""

STREAMS = {
    "hidden": "Hidden states",
    "delta": "Deltas between layers",
    "attention": "Attention contributions",
    "mlp": "MLP contributions",
    "mid": "Stream between attention and MLP",
    "heads": "Attention heads",
}
"""Streams that can be decoded -> their captions."""

WHERES = ("hidden", "mid", "attention", "mlp")
"""The parts of a block that can be changed: the stream after it, between its sublayers, or what these write."""

PATCHED = (*WHERES, "heads")
"""The parts of one prompt that can be put into another: the same, or what each attention head writes."""

CORRUPTED, CLEAN = "corrupted", "clean"
PROMPTS = (CORRUPTED, CLEAN)
"""Two prompts, one of which is run with states of the other."""

GIVEN = "given"
"""The stream of states that the caller passed."""

STREAM_CAPTIONS = {**STREAMS, GIVEN: "Given states"}

NORMS = {
    "own": "the model’s own final norm",
    "final": "the final norm, with the scale of the final state",
    None: "no norm, only the head",
}
"""What a state goes through before the head -> its caption; the name of a module is also possible."""

SOURCE = "the source, which the encoder reads"
"""How the provenance of an encoder-decoder's result describes its prompt."""

LOGIT = "logit"
"""The decoder that leaves a state as it is."""

DECODER_KINDS = {
    "jacobian": "Jacobian lens",
    "tuned": "tuned lens",
    "ridge": "ridge lens",
    "mean": "constant",
    "function": "custom map",
}
"""What maps a state to the final basis before that -> its name in a caption."""

FIT_METHODS = ("jacobian", "jacobian-mean-field", "ridge", "tuned")
"""How a decoder can be fitted."""

OPTIMIZERS = ("adamw", "sgd")
"""What trains a tuned lens."""

MISSING = ("skip", "plain")
"""What to do with a row that a decoder has no map for: leave it out, or show the state as it is, and say so."""

PRECISIONS = ("auto", "exact")
"""The dtype of the logits: bfloat16 if that is faster and certain, or always the model's own."""

WORDS = ("whole", "first")
"""For a target of several tokens: the probability of all of them, or only of the first."""

ON_ERROR = ("raise", "skip")
"""What to do when one prompt of a list cannot be run."""

RESULTS = ("first", "all")
"""Which ranks receive the results of a model that is spread over ranks."""

ATTENTION = (False, True, "heads")
"""What a lens keeps of attention weights: nothing, the mean over heads, or each head."""

LOOKS = ("default", "classic")
"""Default: background by probability, a bar for magnitude. Classic: background by magnitude, text by probability."""

READ_RULES = {
    "before target": "at the token before the target; without a target, at the last token of the prompt",
    "last": "at the last token of the prompt",
    "last newline": "at the last token of the prompt that holds a newline",
}
"""The positions at which an evaluation reads the lens -> the same in words."""

SPELLED = {
    "single": "words that need several tokens are left out",
    "first": "for words that need several tokens, the first token is followed",
}
"""How an evaluation treats words of several tokens -> the same in words."""

FORMS = {
    "plain": "words as they are given",
    "arithmetic": "numbers as digits and as words, operations as symbols and as words",
}
"""Which further forms of a word an evaluation counts as that word -> the same in words."""

_VIDEOS = "only images= and audio= are supported; for a video, pass what the processor returns as the prompt"
MEANT = {
    **dict.fromkeys(("image", "picture", "pictures", "img", "imgs"), "did you mean images=?"),
    **dict.fromkeys(("audios", "sound", "sounds", "speech"), "did you mean audio=?"),
    **dict.fromkeys(("video", "videos"), _VIDEOS),
}
"""Keywords that do not exist, and that no model's ``generate`` takes -> what to pass instead."""

TOKENS, LABELS = "tokens", "labels"
PREDICTED = (TOKENS, LABELS)
"""What a model's logits are of: the tokens of its vocabulary, or a classifier's labels."""

MOST_TRACKED = 256
"""Tokens that are tracked unless another number is asked for."""

ROWS = ("layer", "cell")
"""What one row of a sweep's files describes."""

FAILED_PROMPTS = ("row", "raise")
"""What a sweep does when a prompt fails: write the error in its place, or stop."""

PER_SHARD = 4096
"""Prompts of a shard of a sweep."""

SWEEP_OPTIONS = (
    *("stream", "topk", "layers", "norm", "decoder", "missing", "precision", "chunk_rows", "blocks", "head"),
    *("measures", "targets", "mass", "words"),
)
"""The options of a lens that a sweep takes."""
