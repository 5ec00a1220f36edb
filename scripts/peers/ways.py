"""The ways that are measured, and what each needs. Imports no tool, as only few can be installed together."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Way:
    """One way of reading every layer at every position.

    Attributes:
        name: its name in tables and for ``--way``.
        reader: the class that does it, ``"module:class"`` in this package.
        call: the call, for the table.
        packages: requirements that pip installs; none for bauklens, and for ways without a tool.
        repository: the name of the repository that ``--repository`` replaces, for a tool that no package index has.
        measure: the name of our way whose answer and time this one is compared with.
        held: how many float32 numbers it holds at once for each token of the vocabulary in each row.
    """

    name: str
    reader: str
    call: str
    packages: tuple[str, ...] = ()
    repository: str = ""
    measure: str = "bauklens"
    held: int = 0


@dataclass(frozen=True)
class Repository:
    """A tool that is installed with git.

    Attributes:
        address: of the repository.
        commit: the commit that is measured.
        folder: the folder of the package inside the repository; empty for the repository itself.
    """

    address: str
    commit: str
    folder: str = ""

    def requirement(self, address: str | None = None) -> str:
        """The requirement for pip; from another copy of the repository if an address is given."""
        inside = f"#subdirectory={self.folder}" if self.folder else ""
        return f"git+{address or self.address}@{self.commit}{inside}"


REPOSITORIES = {
    "jlens": Repository("https://github.com/anthropics/jacobian-lens", "581d398613e5602a5af361e1c34d3a92ea82ba8e"),
    "logitlenskit": Repository(
        "https://github.com/davidbau/logitlenskit", "e1bdd2810f6957d377f44825186674aa90781b22", "python"
    ),
}

FORWARD, FLOOR = "forward pass", "floor: plus one bfloat16 product per layer"
OURS, OURS_THROUGH = "bauklens", "bauklens, Jacobian lens"

_NNTERP = (
    "nnterp==1.3.0",
    "nnsight==0.7.0",
)  # nnterp 1.3.0 asks for 0.6 or later, and 0.8 lacks what it imports
_TUNED = ("tuned-lens==0.2.0",)

WAYS = (
    Way(FORWARD, "least:Forward", "the model, with the logits of the last position"),
    Way(
        FLOOR,
        "least:Floor",
        "the same, plus one product of all states with the unembedding per layer, results discarded",
    ),
    Way(OURS, "of_bauklens:Measures", "`logit_lens(model, tokenizer, ids, track=0)`"),
    Way("bauklens, top-k only", "of_bauklens:TopK", "the same with `measures=[]`"),
    Way(
        "TransformerLens",
        "of_transformer_lens:OneCall",
        '`logit_lens(bridge, ids, positions=None, top_k=5, return_type="probs")`, which gives the entropy too',
        ("transformer-lens==4.3.0",),
    ),
    Way(
        "tuned-lens",
        "of_tuned_lens:EachLayer",
        "its `LogitLens` on each hidden state, then softmax and top-k, one layer at a time",
        _TUNED,
    ),
    Way(
        "tuned-lens, trajectory",
        "of_tuned_lens:Trajectory",
        "its `PredictionTrajectory`, which keeps all probabilities for its figures, and the top-k of them",
        _TUNED,
        held=2,
    ),
    Way(
        "nnterp",
        "of_nnterp:EachLayer",
        "`project_on_vocab` of each layer's output, then softmax and top-k; its own `logit_lens` reads one position",
        _NNTERP,
    ),
    Way(
        "NNsight, its recipe",
        "of_nnsight:Recipe",
        "the logit lens of its documentation, at every position and with a softmax",
        ("nnsight==0.8.1",),
    ),
    Way(
        "LogitLensKit",
        "of_logitlenskit:Collect",
        "`collect_logit_lens(prompt, model, k=5, remote=False)`, which follows these tokens through all layers too",
        _NNTERP,
        "logitlenskit",
        held=1,
    ),
    Way(
        OURS_THROUGH,
        "of_bauklens:Through",
        '`logit_lens(model, tokenizer, ids, decoder="lens.pt", missing="plain", track=0)`',
        measure=OURS_THROUGH,
    ),
    Way(
        "jlens, Jacobian lens",
        "of_jlens:Apply",
        "`JacobianLens.apply(model, prompt)`, which keeps all logits, then softmax and top-k of each layer",
        (),
        "jlens",
        OURS_THROUGH,
        held=1,
    ),
)

NAMED = {way.name: way for way in WAYS}
