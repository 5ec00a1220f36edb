"""The demo model: converted once from the GGUF file of its package, and kept in the user's cache."""

import shutil
import tempfile
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

from bauklens.model.caches import demo_file, demo_folder, is_demo_converted
from bauklens.model.located import require_gguf


def converted_demo() -> str:
    """The folder of the demo model as safetensors, written on first use."""
    folder = demo_folder()
    if not is_demo_converted():
        require_gguf()
        _convert(demo_file(), folder)
    return str(folder)


def _convert(file: Path, folder: Path) -> None:
    """Writes a GGUF model as safetensors; it is moved to its place only when it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
        if hasattr(model.config, "quantization_config"):  # the weights are dequantized, and would not be saved with it
            del model.config.quantization_config
        model.hf_quantizer = None
        model.save_pretrained(unfinished)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        if getattr(tokenizer, "add_bos_token", False):  # transformers 4 adds a token that this model does not use
            tokenizer.add_bos_token = False
        tokenizer.save_pretrained(unfinished)
        try:
            unfinished.rename(folder)
        except OSError:  # another process was faster, or an attempt left one behind
            if not (folder / "config.json").is_file():
                shutil.rmtree(folder, ignore_errors=True)
                unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
