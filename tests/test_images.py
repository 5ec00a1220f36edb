"""Pictures beside text: real processors, tiny models, and each row against plain hooks, the norm and the head."""

import base64
import copy
import io
import json
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from transformers import (
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)
from transformers.models.llava_next import modeling_llava_next as llava_next
from transformers.models.llava_onevision import modeling_llava_onevision as llava_onevision

import bauklens
from bauklens import LensError
from bauklens.cli.commands import main
from bauklens.lens.pictures import LONGEST
from bauklens.model.encoding import encode
from bauklens.model.image_files import picture_of, pictures_of
from bauklens.model.image_grid import views_of
from bauklens.model.image_layouts import LAYOUTS
from bauklens.model.image_tiles import best_resolution, unpadded
from bauklens.model.reads import reads_no
from bauklens.model.sound_files import sounds_of
from tests.image_text import FAILS, PROMPTS, SPECS, build, build_for, inputs_of, picture, processor_of, tokenizer_with
from tests.tiny import randomised, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.filterwarnings("default")  # of processors

IN_THE_LENS = [name for name, spec in SPECS.items() if spec["kind"] != "encoder-decoder"]
"""Types whose columns are the positions that read the picture, if any do."""

UNKNOWN = {"git", "inkling_mm_model"}
"""Their grids are not in what the model is given: no position of git's prompt is the image's; inkling has no sizes."""

GRIDS = {
    "llava": [("image 1", 2, 2)],
    "qwen2_5_vl": [("image 1", 2, 3)],
    "qwen3_vl": [("image 1", 2, 3)],
    "gemma3": [("image 1", 2, 2)],
    "idefics3": [*((f"image 1, tile {tile}", 2, 2) for tile in range(1, 5)), ("image 1, whole", 2, 2)],
    "internvl": [(f"image 1, view {view}", 2, 2) for view in range(1, 4)],
    "mllama": [],
    "paligemma": [("image 1", 2, 2)],
}

CHAT = (
    "{% for m in messages %}{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}{% endfor %}"
)

_made = {}


def family(name):
    """A model and its processor, made once."""
    if name not in _made:
        processor = processor_of(name)
        _made[name] = build_for(name, processor.tokenizer), processor
    return _made[name]


def with_template(processor):
    processor = copy.copy(processor)
    processor.chat_template = CHAT.replace("IMAGE", processor.image_token)
    return processor


def plain(processor, text, images):
    """What a user passes to the model by hand."""
    made = processor(text=text, images=images, return_tensors="pt")
    return {name: value for name, value in made.items() if name != "labels"}


def own_rows(model, inputs):
    """By plain hooks: (block, position, token) probabilities of the norm and the head after each block that runs."""
    text = getattr(model.model, "language_model", None) or model.model.text_model
    states = []
    hooks = [
        block.register_forward_hook(
            lambda _module, _given, found: states.append(found[0] if isinstance(found, tuple) else found)
        )
        for block in text.layers
    ]
    with torch.no_grad():
        logits = model(**inputs, use_cache=False).logits[0]
        for hook in hooks:
            hook.remove()
        rows = [model.lm_head(text.norm(state))[0].softmax(-1) for state in states[:-1]]
    return torch.stack([*rows, logits.softmax(-1)])


def off(lens, rows):
    """The largest difference of probabilities, without the row "embed"."""
    right = rows.gather(-1, torch.from_numpy(lens.top_ids[1:].copy())).numpy()
    return np.abs(right - lens.top_probs[1:]).max()


class TestWhichPositionsReadWhichPatches:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", IN_THE_LENS)
    def test_of_every_type_it_is_as_it_was_measured_or_not_said(self, name, record_property):
        model = build(name)
        views = views_of(model, encode(model, None, inputs_of(name)))
        grids = [view.grid.tolist() for view in views if view.grid.size]
        assert grids == ([] if name in UNKNOWN else SPECS[name]["grids"])
        if name != "git":
            assert sorted(int(each) for view in views for each in view.positions) == SPECS[name]["image_positions"]
        if grids:
            record_property(f"grid of image positions known, of {len(IN_THE_LENS)} types", name)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", [name for name in IN_THE_LENS if name in LAYOUTS and name not in FAILS])
    def test_no_grid_is_claimed_for_another_number_of_positions(self, name):
        """one more placeholder than the layout takes, and the model itself would refuse it"""
        model, inputs = build(name), inputs_of(name)
        ids, last = inputs["input_ids"], max(SPECS[name]["image_positions"])
        longer = torch.cat([ids[:, : last + 1], ids[:, last:]], dim=1)
        alone = {key: value for key, value in inputs.items() if not key.endswith(("token_type_ids", "attention_mask"))}
        views = views_of(model, encode(model, None, alone | {"input_ids": longer}))
        assert all(not view.grid.size for view in views)
        assert [view.name for view in views] == (["image"] if name == "fuyu" else ["image 1"])  # its rows are apart

    @pytest.mark.parametrize("of", [llava_next, llava_onevision], ids=["llava_next", "llava_onevision"])
    def test_tiles_that_keep_proportions_are_as_many_as_transformers_makes(self, of):
        pinpoints, side, pixels = [[height, width] for height in (28, 56, 84) for width in (28, 56, 84)], 2, 28
        for height in range(1, 200, 7):
            for width in range(1, 200, 9):
                rows, columns = of.get_anyres_image_grid_shape((height, width), pinpoints, pixels)
                right = of.unpad_image(torch.zeros(1, rows * side, columns * side), (height, width)).shape[1:]
                found = unpadded((height, width), best_resolution((height, width), pinpoints), side, pixels)
                assert found == tuple(right)

    @pytest.mark.parametrize("name", GRIDS)
    def test_of_what_a_processor_makes(self, name):
        model, processor = family(name)
        lens = bauklens.logit_lens(model, processor, PROMPTS[name], images=[picture()], topk=1)
        assert [(each.name, *each.grid.shape) for each in lens.pictures] == GRIDS[name]
        for each in lens.pictures:
            first = int(each.grid[0, 1])
            assert lens.columns[first] == f"{each.name}, row 1, column 2"

    @pytest.mark.parametrize("name", [name for name in GRIDS if name not in ("mllama", "paligemma")])
    def test_of_two_pictures_of_two_sizes(self, name):
        model, processor = family(name)
        images = [picture(0), picture(1, width=16, height=32)]
        text = f"{PROMPTS[name]} and {PROMPTS[name]}"
        model.config.get_text_config().max_position_embeddings = 128  # of rotary ones: there is no table of them
        lens = bauklens.logit_lens(model, processor, text, images=images, topk=1)
        of_each = [[each for each in lens.pictures if each.name.startswith(f"image {number}")] for number in (1, 2)]
        assert all(of_each)
        assert sum(map(len, of_each)) == len(lens.pictures)
        assert max(each.positions.max() for each in of_each[0]) < min(each.positions.min() for each in of_each[1])
        if name.startswith("qwen"):
            assert [each.grid.shape for each in lens.pictures] == [(2, 3), (4, 2)]

    def test_a_video_is_named_by_its_frames(self):
        """and one patch of one frame moves the embedding of the position that is said to read it most of all"""
        model = build("qwen2_5_vl")
        count, rows, columns = 2, 2, 3  # of positions; 2 x 2 patches each, in the order of the positions
        patches = torch.randn(count * rows * columns * 4, 96, generator=torch.Generator().manual_seed(0))
        ids = torch.tensor([[5, 6, 92, *[91] * (count * rows * columns), 93, 7]])
        inputs = {
            "input_ids": ids,
            "pixel_values_videos": patches,
            "video_grid_thw": torch.tensor([[count, rows * 2, columns * 2]]),
            "mm_token_type_ids": torch.where(ids == 91, 2, 0),
        }
        lens = bauklens.logit_lens(model, None, inputs, topk=1)
        assert [each.name for each in lens.pictures] == ["video 1, frames 1 to 2", "video 1, frames 3 to 4"]
        assert [each.grid.shape for each in lens.pictures] == [(rows, columns)] * count
        place = int(lens.pictures[1].grid[1, 0])
        changed = patches.clone()
        changed[(place - 3) * 4 : (place - 2) * 4] += 3
        before, after = (
            model.model.get_video_features(each, inputs["video_grid_thw"]).pooler_output[0]
            for each in (patches, changed)
        )
        assert int((after - before).norm(dim=-1).argmax()) == place - 3

    def test_of_tensors_alone_views_of_unknown_pictures_are_not_given_to_one(self):
        """three pictures or one with two tiles: both have the same positions, and no tokenizer tells the tokens"""
        model, processor = family("idefics3")
        inputs = plain(processor, PROMPTS["idefics3"], [picture()])
        lens = bauklens.logit_lens(model, None, inputs, topk=1)
        assert [each.name for each in lens.pictures] == [f"image, view {view}" for view in range(1, 6)]
        named = bauklens.logit_lens(model, processor, inputs, topk=1)
        assert [(each.name, *each.grid.shape) for each in named.pictures] == GRIDS["idefics3"]

    def test_tiles_that_other_tokens_part_are_not_taken_for_pictures(self):
        """Aya Vision writes TILE_1 and TILE_2 before its tiles, and TILE_GLOBAL before the whole picture"""
        model, processor = family("aya_vision")
        wide, text = picture(width=48, height=16), "the tower <image>"
        lens = bauklens.logit_lens(model, processor, text, images=[wide], topk=1)
        assert [each.name for each in lens.pictures] == ["image 1, tile 1", "image 1, tile 2", "image 1, whole"]
        assert [each.grid.shape for each in lens.pictures] == [(2, 2)] * 3
        for each in lens.pictures:
            before = lens.tokens[each.positions[0] - 1]
            assert before == {"tile 1": "TILE_1", "tile 2": "TILE_2", "whole": "TILE_GLOBAL"}[each.name[9:]]
        two = bauklens.logit_lens(model, processor, f"{text} and {text}", images=[wide, picture(width=16)], topk=1)
        assert [each.name for each in two.pictures] == [*(each.name for each in lens.pictures), "image 2"]
        inputs = plain(processor, text, [wide])
        tensors = bauklens.logit_lens(model, None, inputs, topk=1)
        assert [each.name for each in tensors.pictures] == [f"image, view {view}" for view in (1, 2, 3)]

    def test_tiles_that_line_breaks_part_are_not_taken_for_pictures(self):
        """as Cohere's processor writes them, which needs torchvision: a line break after each tile"""
        model = build("cohere2_vision")
        ids = torch.tensor([[5, *[90, 90, 90, 90, 6] * 3, 7]])
        inputs = {"input_ids": ids, "pixel_values": torch.randn(3, 3, 16, 16)}
        lens = bauklens.logit_lens(model, None, inputs, topk=1)
        assert [each.name for each in lens.pictures] == [f"image, view {view}" for view in (1, 2, 3)]
        assert [each.grid.tolist() for each in lens.pictures] == [
            [[start, start + 1], [start + 2, start + 3]] for start in (1, 6, 11)
        ]

    def test_crops_of_a_picture_are_not_taken_for_pictures(self):
        """Gemma 3's pan and scan: the whole picture, and two or more crops of it"""
        model, processor = family("gemma3")
        model.config.get_text_config().max_position_embeddings = 128  # of rotary ones: there is no table of them
        asked = {"do_pan_and_scan": True, "pan_and_scan_min_crop_size": 4, "return_tensors": "pt"}
        made = processor(text=PROMPTS["gemma3"], images=[picture(width=48, height=16)], **asked)
        assert len(made["pixel_values"]) == 4
        for tokenizer in (None, processor):
            lens = bauklens.logit_lens(model, tokenizer, dict(made), topk=1)
            assert [each.name for each in lens.pictures] == [f"image, view {view}" for view in range(1, 5)]


@pytest.mark.parametrize("name", PROMPTS)
class TestTheLens:
    def test_every_row_is_the_models_own_with_its_picture(self, name):
        model, processor = family(name)
        rows = own_rows(model, plain(processor, PROMPTS[name], [picture()]))
        lens = bauklens.logit_lens(model, processor, PROMPTS[name], images=[picture()], precision="exact")
        assert off(lens, rows) < 1e-5
        assert lens.prompt == PROMPTS[name]
        assert lens.notes == ()
        other = bauklens.logit_lens(model, processor, PROMPTS[name], images=[picture(1)], precision="exact")
        assert off(other, rows) > 1e-3

    def test_a_mapping_from_the_processor_gives_the_same(self, name):
        model, processor = family(name)
        made = processor(text=PROMPTS[name], images=[picture()], return_tensors="pt")
        made.pop("labels", None)
        lens = bauklens.logit_lens(model, processor, PROMPTS[name], images=[picture()], precision="exact")
        again = bauklens.logit_lens(model, processor, made, precision="exact")
        assert np.array_equal(again.top_probs, lens.top_probs)
        assert again.columns == lens.columns
        assert not any(each.image for each in again.pictures)

    def test_what_is_generated_is_what_the_last_row_says(self, name):
        model, processor = family(name)
        lens = bauklens.logit_lens(
            model, processor, PROMPTS[name], images=[picture()], topk=1, max_new_tokens=5, precision="exact"
        )
        begins = lens.generated_from
        assert lens.token_ids[begins:].tolist() == lens.top_ids[-1, begins - 1 : -1, 0].tolist()
        inputs = plain(processor, PROMPTS[name], [picture()])
        with torch.no_grad():
            found = model.generate(
                **inputs, max_new_tokens=5, do_sample=False, output_logits=True, return_dict_in_generate=True
            )
        assert found.sequences[0].tolist() == lens.token_ids.tolist()
        steps = torch.stack(found.logits)[:, 0].softmax(-1).max(dim=-1).values.numpy()
        assert np.abs(lens.top_probs[-1, begins - 1 : -1, 0] - steps).max() < 1e-5
        assert not any(lens.columns[begins:])

    def test_a_text_without_a_place_is_given_one_and_it_is_said(self, name):
        model, processor = family(name)
        lens = bauklens.logit_lens(model, processor, "the tower in the city", images=picture(), precision="exact")
        put = f"so {processor.image_token} was added at the beginning of the text."
        assert lens.notes == (f"The prompt had no place for its image, {put}",)
        assert off(lens, own_rows(model, plain(processor, lens.prompt, [picture()]))) < 1e-5

    def test_more_places_than_images_are_refused(self, name):
        model, processor = family(name)
        text = f"{PROMPTS[name]} {PROMPTS[name]}"
        said = r"the text has \S+ 2 times, but one image is given: pass one image for each, or write \S+ once$"
        with pytest.raises(LensError, match=said):
            bauklens.logit_lens(model, processor, text, images=[picture()])

    def test_more_images_than_places_are_refused(self, name):
        model, processor = family(name)
        token = processor.image_token
        with pytest.raises(LensError) as refused:
            bauklens.logit_lens(model, processor, PROMPTS[name], images=[picture(), picture(1)])
        assert str(refused.value) == (
            f"the text has one {token}, but 2 images are given: pass one image for each, or write {token} 2 times"
        )

    def test_a_chat_says_where_its_images_are(self, name):
        model, processor = family(name)
        processor = with_template(processor)
        chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "the tower"}]}]
        lens = bauklens.logit_lens(model, processor, messages=chat, images=[picture()], precision="exact")
        assert lens.prompt == f"{processor.image_token}the tower"
        assert off(lens, own_rows(model, plain(processor, lens.prompt, [picture()]))) < 1e-5
        held = [{"role": "user", "content": [{"type": "image", "image": picture()}, chat[0]["content"][1]]}]
        again = bauklens.logit_lens(model, processor, messages=held, precision="exact")
        assert np.array_equal(again.top_probs, lens.top_probs)
        assert again.pictures[:1] == () or again.pictures[0].image == lens.pictures[0].image


def test_generated_text_is_not_seen_by_a_prompt_that_is_read_both_ways():
    """PaliGemma, given no token_type_ids: all positions of the prompt see one another, and no generated one"""
    model, processor = family("paligemma")
    inputs = plain(processor, PROMPTS["paligemma"], [picture()])
    del inputs["token_type_ids"]
    before = bauklens.logit_lens(model, processor, inputs, precision="exact")
    after = bauklens.logit_lens(model, processor, inputs, max_new_tokens=4, precision="exact")
    count = len(before.tokens)
    assert np.abs(after.top_probs[:, :count] - before.top_probs).max() < 1e-5
    assert after.token_ids[count:].tolist() == after.top_ids[-1, count - 1 : -1, 0].tolist()


class TestChats:
    def test_images_without_a_place_go_to_the_first_users_message(self):
        model, processor = family("llava")
        chat = [{"role": "system", "content": "is"}, {"role": "user", "content": "the tower"}]
        lens = bauklens.logit_lens(model, with_template(processor), messages=chat, images=[picture(), picture(1)])
        assert lens.prompt == "is<image><image>the tower"
        assert lens.notes == (
            "The prompt had no place for its images, so <image> was added 2 times at the beginning of the first user's "
            "message.",
        )

    def test_an_address_with_the_image_itself_is_read(self):
        model, processor = family("llava")
        written = io.BytesIO()
        picture().save(written, "PNG")
        address = "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()
        part = {"type": "image_url", "image_url": {"url": address}}
        chat = [{"role": "user", "content": [part, {"type": "text", "text": "the tower"}]}]
        lens = bauklens.logit_lens(model, with_template(processor), messages=chat)
        given = bauklens.logit_lens(model, processor, "<image>the tower", images=picture())
        assert np.array_equal(lens.top_probs, given.top_probs)

    @pytest.mark.parametrize(
        ("parts", "images", "said"),
        [
            ([{"type": "image"}], None, "have one image part, but no image is given: pass one"),
            ([{"type": "image"}] * 2, [picture()], "have 2 image parts, but one image is given: pass one"),
            ([{"type": "image", "image": picture()}], [picture()], "in the messages and in images="),
            (
                [{"type": "image", "image": picture()}, {"type": "image"}],
                None,
                "only one of them holds its image: put",
            ),
            (
                [{"type": "image", "url": "https://example.org/a.png"}],
                None,
                "is a web address, and nothing is downloaded",
            ),
            (
                [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}],
                None,
                r'download it yourself and pass the file, in a message as \{"type": "image", "image": FILE\}',
            ),
            (
                [{"type": "image", "url": "file://server/a.png"}],
                None,
                "is a file on server: pass a file on this machine",
            ),
            (
                [{"type": "image"}, {"type": "video", "video": "a.mp4"}],
                [picture()],
                "contain a video, but only images and",
            ),
            (
                [{"type": "image"}, {"type": "input_audio"}],
                [picture()],
                "does not read sounds: leave the sounds in the messages",
            ),
            ([{"type": "image", "url": "data:image/png;base64,?"}], None, "not in base64"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, parts, images, said):
        model, processor = family("llava")
        chat = [{"role": "user", "content": parts}]
        with pytest.raises(LensError, match=said):
            bauklens.logit_lens(model, with_template(processor), messages=chat, images=images)

    @pytest.mark.parametrize("kind", ["image", "image_url", "input_image"])
    @pytest.mark.parametrize("address", [False, True])
    def test_a_file_of_this_machine_is_read_in_any_form(self, tmp_path, kind, address):
        model, processor = family("llava")
        picture().save(tmp_path / "a b.png")
        file = (tmp_path / "a b.png").as_uri() if address else str(tmp_path / "a b.png")
        part = {"type": kind, "image" if kind == "image" else "image_url": file}
        chat = [{"role": "user", "content": [part, {"type": "text", "text": "the tower"}]}]
        lens = bauklens.logit_lens(model, with_template(processor), messages=chat)
        given = bauklens.logit_lens(model, processor, "<image>the tower", images=picture())
        assert np.array_equal(lens.top_probs, given.top_probs)

    @pytest.mark.parametrize("messages", ["the tower", [5], [], {"role": "user"}, 5])
    def test_what_is_not_a_chat_is_refused(self, messages):
        model, processor = family("llava")
        with pytest.raises(LensError, match="messages must be a list of at least one"):
            bauklens.logit_lens(model, with_template(processor), messages=messages, images=picture())

    def test_a_chat_without_a_template_is_refused(self):
        model, processor = family("llava")
        said = "LlavaProcessor has no chat template, .*: pass a text as the prompt, with <image> for each image, or the"
        with pytest.raises(LensError, match=said):
            bauklens.logit_lens(model, processor, messages=[{"role": "user", "content": "the"}], images=picture())


class TestPictures:
    def test_they_come_as_files_images_arrays_and_tensors(self, tmp_path):
        image = picture()
        image.save(tmp_path / "a.png")
        array = np.asarray(image)
        ways = [
            str(tmp_path / "a.png"),
            tmp_path / "a.png",
            (tmp_path / "a.png").read_bytes(),
            image,
            array,
            array.transpose(2, 0, 1),
            torch.from_numpy(array.copy()),
            torch.from_numpy(array.copy()).permute(2, 0, 1).float() / 255,
            np.dstack([array, np.full(array.shape[:2], 255, np.uint8)]),
        ]
        for way in ways:
            assert np.array_equal(np.asarray(picture_of(way, "it")), array)
        assert len(pictures_of(np.stack([array] * 2))) == 2
        model, processor = family("llava")
        lenses = [bauklens.logit_lens(model, processor, PROMPTS["llava"], images=way) for way in ways]
        assert all(np.array_equal(lens.top_probs, lenses[0].top_probs) for lens in lenses)

    def test_a_photo_is_turned_upright_as_its_file_says(self, tmp_path):
        photo, exif = picture(), Image.Exif()
        exif[0x0112] = 6
        photo.save(tmp_path / "a.png", exif=exif)
        assert picture_of(tmp_path / "a.png", "it").size == (16, 24)

    def test_what_cannot_be_read_is_refused_in_a_line(self, tmp_path, monkeypatch):
        (tmp_path / "text.png").write_text("no image")
        whole = io.BytesIO()
        picture(width=200, height=200).save(whole, "PNG")
        (tmp_path / "cut.png").write_bytes(whole.getvalue()[:2000])
        (tmp_path / "huge.png").write_bytes(png_that_claims(60_000, 60_000))
        (tmp_path / "a.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
        os.mkfifo(tmp_path / "pipe.png")
        model, processor = family("llava")
        for given, said in (
            (tmp_path / "none.png", "No such file"),
            (tmp_path, "it is a folder"),
            (tmp_path / "pipe.png", "not a regular file"),
            (tmp_path / "text.png", "not an image that can be read"),
            (tmp_path / "a.eps", "not an image that can be read"),
            (tmp_path / "cut.png", "is damaged"),
            (tmp_path / "huge.png", "has more than .* pixels"),
            (7, "image 1 is a int"),
            (np.zeros((2, 2, 5)), "has shape"),
            (np.zeros((0, 2, 3)), "has shape"),
            (np.full((2, 2, 3), 2.0), "holds numbers from 2 to 2"),
            (np.full((2, 2, 3), np.nan), "holds numbers"),
            ([], "images is empty"),
            (Image.new("RGB", (4000, 1)), "has 4,000 x 1 pixels"),
            (Image.new("RGB", (0, 5)), "has 0 x 5 pixels"),
        ):
            with pytest.raises(LensError, match=said) as refused:
                bauklens.logit_lens(model, processor, PROMPTS["llava"], images=given)
            assert "\n" not in str(refused.value)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        with pytest.raises(LensError, match="has more than 100 pixels"):
            bauklens.logit_lens(model, processor, PROMPTS["llava"], images=picture())

    def test_they_need_a_processor_and_one_prompt(self):
        model, processor = family("llava")
        for tokenizer in (None, processor.tokenizer):
            with pytest.raises(LensError, match="images need a processor that takes them, in the tokenizer's place"):
                bauklens.logit_lens(model, tokenizer, PROMPTS["llava"], images=picture())
        with pytest.raises(LensError, match="images and audio take a single prompt"):
            bauklens.logit_lens(model, processor, ["the", "tower"], images=picture())
        with pytest.raises(LensError, match="need a text as the prompt"):
            bauklens.logit_lens(model, processor, [5, 6], images=picture())
        with pytest.raises(LensError, match=r"LlavaForConditionalGeneration does not read sounds: leave audio= out"):
            bauklens.logit_lens(model, processor, "the", audio=np.zeros(9))
        with pytest.raises(LensError, match="audio needs a processor"):
            bauklens.logit_lens(qwen2_audio()[0], processor, "the", audio=np.zeros(9))

    @pytest.mark.parametrize("tokenizer", [None, tiny_tokenizer(), tiny_tokenizer])
    def test_a_model_that_reads_none_says_so_first(self, tokenizer):
        tokenizer = processor_of("llava") if tokenizer is tiny_tokenizer else tokenizer
        said = r"GPT2LMHeadModel does not read images: leave {} out, or load a model that does"
        with pytest.raises(LensError, match=said.format("images=")):
            bauklens.logit_lens(tiny_model("gpt2"), tokenizer, "the tower", images="a.png")
        chat = [{"role": "user", "content": [{"type": "image", "image": picture()}]}]
        with pytest.raises(LensError, match=said.format("the images in the messages")):
            bauklens.logit_lens(tiny_model("gpt2"), tokenizer, messages=chat)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", SPECS)
    def test_no_model_that_reads_images_is_said_to_read_none(self, name):
        assert not reads_no("images", build(name))

    @pytest.mark.parametrize(
        ("option", "said"),
        [
            ("image", r"did you mean images=\?"),
            ("pictures", r"did you mean images=\?"),
            ("audios", r"did you mean audio=\?"),
            ("videos", "only images= and audio= are supported; for a video, pass what the processor returns"),
        ],
    )
    @pytest.mark.parametrize("more", [{}, {"max_new_tokens": 2}])
    def test_other_names_for_them_are_told_what_to_pass(self, option, said, more):
        model, processor = family("llava")
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{option}': {said}"):
            bauklens.logit_lens(model, processor, PROMPTS["llava"], **{option: picture()}, **more)
        with pytest.raises(LensError, match=f"LlavaForConditionalGeneration takes no input {option}: {said}"):
            bauklens.logit_lens(model, processor, PROMPTS["llava"], **{option: np.zeros((8, 8, 3))}, **more)


class TestWhatIsShown:
    def shown(self, each):
        return Image.open(io.BytesIO(each.image)).convert("RGB")

    def test_of_a_cropped_picture_what_the_patches_cover(self):
        """CLIP's processor crops the middle: the left and right quarter of this picture are seen by no position"""
        model, processor = family("llava")
        wide = np.zeros((8, 16, 3), np.uint8)
        wide[:, :4], wide[:, 4:12], wide[:, 12:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
        lens = bauklens.logit_lens(model, processor, PROMPTS["llava"], images=wide)
        image = self.shown(lens.pictures[0])
        assert image.size == (8, 8)
        assert image.getpixel((0, 0)) == image.getpixel((7, 7)) == (0, 255, 0)

    def test_each_patch_is_where_the_grid_says(self):
        """one patch is painted: the position that reads it is the only one whose row "embed" changes"""
        model, processor = family("paligemma")
        image = np.zeros((8, 8, 3), np.uint8)
        painted = image.copy()
        painted[4:, :4] = 255
        inputs = [plain(processor, PROMPTS["paligemma"], [each]) for each in (image, painted)]
        features = [
            model.model.get_image_features(each["pixel_values"]).pooler_output.reshape(4, -1) for each in inputs
        ]
        moved = (features[0] - features[1]).norm(dim=-1).argmax()
        lens = bauklens.logit_lens(model, processor, PROMPTS["paligemma"], images=painted)
        (shown,) = lens.pictures
        assert shown.label(int(shown.positions[moved])) == "image 1, row 2, column 1"
        seen = self.shown(shown)
        assert seen.getpixel((1, 6)) == (255, 255, 255)
        assert seen.getpixel((6, 1)) == (0, 0, 0)

    def test_a_squeezed_picture_has_its_proportions_again(self):
        model, processor = family("paligemma")
        lens = bauklens.logit_lens(model, processor, PROMPTS["paligemma"], images=picture(width=64, height=32))
        assert self.shown(lens.pictures[0]).size == (8, 4)

    def test_tiles_show_their_own_pixels(self):
        model, processor = family("idefics3")
        quarters = np.zeros((16, 16, 3), np.uint8)
        quarters[:8, 8:], quarters[8:, :8], quarters[8:, 8:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
        lens = bauklens.logit_lens(model, processor, PROMPTS["idefics3"], images=quarters)
        middles = [self.shown(each).resize((1, 1)).getpixel((0, 0)) for each in lens.pictures[:4]]
        found = [tuple(int(value > 128) for value in middle) for middle in middles]
        assert found == [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]

    def test_large_photos_are_small_jpegs_and_drawings_pngs(self):
        model, processor = family("qwen2_5_vl")
        photo = picture(width=24, height=16).resize((2400, 1600), Image.Resampling.BICUBIC)
        lens = bauklens.logit_lens(model, processor, PROMPTS["qwen2_5_vl"], images=photo, topk=1)
        assert lens.pictures[0].kind == "jpeg"
        assert max(self.shown(lens.pictures[0]).size) == LONGEST
        drawing = Image.new("RGB", (600, 400), (255, 0, 0))
        lens = bauklens.logit_lens(model, processor, PROMPTS["qwen2_5_vl"], images=drawing, topk=1)
        assert lens.pictures[0].kind == "png"
        assert self.shown(lens.pictures[0]).getpixel((9, 9)) == (255, 0, 0)

    def test_a_result_keeps_them(self, tmp_path):
        model, processor = family("llava")
        lens = bauklens.logit_lens(model, processor, PROMPTS["llava"], images=picture(), topk=1)
        lens.save(tmp_path / "lens.json")
        again = bauklens.LensResult.load(tmp_path / "lens.json")
        assert again.pictures[0].image == lens.pictures[0].image
        assert again.columns == lens.columns


def png_that_claims(width, height):
    """The beginning of a PNG file of so many pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    begin = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    data = b"IDAT" + zlib.compress(b"\0" * 9)
    return begin + struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))


SOUND = np.sin(np.arange(8000) / 20).astype(np.float32)


def wav(sound, kind, rate=16_000, channels=1):
    """A WAV file of numbers -1..1, as "u1", "<i2", "24" (bits), "<i4" or "<f4"."""
    bits, sound = 24 if kind == "24" else 8 * np.dtype(kind).itemsize, sound.astype(np.float64)
    if kind == "24":
        whole = np.round(sound.ravel() * (2**23 - 1)).astype("<i4").view("u1").reshape(-1, 4)[:, :3]
        data = whole.tobytes()
    elif kind == "u1":
        data = np.round(sound * 127 + 128).astype("u1").tobytes()
    else:
        data = (sound if kind == "<f4" else np.round(sound * (2.0 ** (bits - 1) - 1))).astype(kind).tobytes()
    step = bits // 8 * channels
    head = struct.pack("<HHIIHH", 3 if kind == "<f4" else 1, channels, rate, rate * step, step, bits)
    chunks = b"fmt " + struct.pack("<I", 16) + head + b"LIST\3\0\0\0abc\0data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def qwen2_audio():
    """A tiny model that reads sounds beside text, and its processor."""
    tokenizer = tokenizer_with("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
    processor = Qwen2AudioProcessor(WhisperFeatureExtractor(feature_size=8, chunk_length=1), tokenizer)
    heard = {"model_type": "qwen2_audio_encoder", "num_mel_bins": 8, "d_model": 32, "encoder_layers": 1}
    heard |= {"encoder_attention_heads": 2, "encoder_ffn_dim": 32, "max_source_positions": 50}
    text = {"model_type": "qwen2", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    text |= {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": len(tokenizer)}
    token = tokenizer.convert_tokens_to_ids("<|AUDIO|>")
    config = Qwen2AudioConfig(audio_config=heard, text_config=text, audio_token_index=token, pad_token_id=2)
    torch.manual_seed(0)  # other weights may generate the token of a sound
    return randomised(Qwen2AudioForConditionalGeneration(config)), processor


class TestSounds:
    TEXT = "the <|audio_bos|><|AUDIO|><|audio_eos|> tower"

    def test_beside_text_the_last_row_is_the_models_own(self):
        model, processor = qwen2_audio()
        made = processor(text=self.TEXT, audio=SOUND, sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            right = model(**made).logits[0].softmax(-1)
        for sound in (SOUND, torch.from_numpy(SOUND), SOUND.tolist()):
            lens = bauklens.logit_lens(model, processor, self.TEXT, audio=sound, precision="exact")
            found = right.gather(-1, torch.from_numpy(lens.top_ids[-1].copy())).numpy()
            assert np.abs(found - lens.top_probs[-1]).max() < 1e-5
        assert [(each.name, len(each.positions)) for each in lens.pictures] == [("audio 1", 12)]
        assert all(lens.columns[each] == "audio 1" for each in lens.pictures[0].positions)

    def test_two_of_them_are_told_apart_and_generation_goes_on(self):
        model, processor = qwen2_audio()
        lens = bauklens.logit_lens(
            model, processor, f"{self.TEXT} {self.TEXT}", audio=[SOUND, SOUND[:4000]], topk=1, max_new_tokens=3
        )
        assert [each.name for each in lens.pictures] == ["audio 1", "audio 2"]
        begins = lens.generated_from
        assert lens.token_ids[begins:].tolist() == lens.top_ids[-1, begins - 1 : -1, 0].tolist()

    def test_what_whisper_has_written_of_one(self):
        parts = json.loads(tiny_tokenizer().backend_tokenizer.to_str())["model"]
        tokenizer = WhisperTokenizer(vocab=parts["vocab"], merges=[tuple(each) for each in parts["merges"]])
        processor = WhisperProcessor(WhisperFeatureExtractor(feature_size=8, chunk_length=1), tokenizer)
        sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 3, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
        sizes |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_mel_bins": 8}
        sizes |= {"max_source_positions": 50, "max_target_positions": 40, "vocab_size": len(tokenizer)}
        named = {"decoder_start_token_id": 1, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
        model = randomised(WhisperForConditionalGeneration(WhisperConfig(**sizes, **named)))
        lens = bauklens.logit_lens(model, processor, audio=SOUND, text_target="the tower", precision="exact")
        features = processor.feature_extractor(SOUND, sampling_rate=16_000, return_tensors="pt")
        ids = torch.from_numpy(lens.token_ids.copy())[None]
        with torch.no_grad():
            right = model(**features, decoder_input_ids=ids).logits[0].softmax(-1)
        found = right.gather(-1, torch.from_numpy(lens.top_ids[-1].copy())).numpy()
        assert np.abs(found - lens.top_probs[-1]).max() < 1e-5
        assert "".join(lens.tokens[-2:]) == "the tower"

    def test_what_a_processor_refuses_is_one_line(self):
        model, processor = qwen2_audio()
        with pytest.raises(LensError, match=r"Qwen2AudioProcessor fails: ValueError: The total number") as refused:
            bauklens.logit_lens(model, processor, "the tower", audio=SOUND)
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize(("kind", "close"), [("<i2", 1e-4), ("<f4", 0), ("<i4", 1e-6), ("u1", 0.015), ("24", 1e-6)])
    def test_a_wav_file_is_read(self, tmp_path, kind, close):
        path = tmp_path / "a.wav"
        path.write_bytes(wav(SOUND, kind))
        (read,) = sounds_of([path], 16_000)
        assert read.dtype == np.float32
        assert np.abs(read - SOUND).max() <= close
        both = np.stack([SOUND, np.zeros_like(SOUND)], axis=1)
        path.write_bytes(wav(both, kind, channels=2))
        assert np.abs(sounds_of(str(path), None) - SOUND / 2).max() <= max(close, 1e-7)

    def test_a_wav_file_is_what_its_samples_are(self, tmp_path):
        model, processor = qwen2_audio()
        path = tmp_path / "a.wav"
        path.write_bytes(wav(SOUND, "<f4"))
        found = [bauklens.logit_lens(model, processor, self.TEXT, audio=each).top_probs for each in (path, SOUND)]
        assert np.array_equal(*found)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "cannot read audio 2, '.*a.wav': No such file"),
            (b"ID3 an mp3", "is not a WAV file: convert it .ffmpeg -i FILE -ac 1 -ar 16000 sound.wav"),
            (b"RIFF....WAVEfmt ", "is a damaged WAV file"),
            (b"RIFF....WAVEdata\x04\0\0\0abcd", "is a damaged WAV file"),
            ("<i2 44100", "has 44,100 samples a second, and the processor takes 16,000: convert it"),
            ("a law", "is a WAV file of an unsupported kind: convert it"),
            ("empty", "has no samples"),
            ("not numbers", "has samples that are not numbers"),
        ],
    )
    def test_a_file_that_cannot_be_read(self, tmp_path, content, message):
        model, processor = qwen2_audio()
        made = {"<i2 44100": wav(SOUND, "<i2", rate=44_100), "empty": wav(SOUND[:0], "<i2")}
        made |= {"a law": wav(SOUND, "u1").replace(b"\x10\0\0\0\1", b"\x10\0\0\0\6")}
        made |= {"not numbers": wav(SOUND * np.nan, "<f4")}
        if content is not None:
            (tmp_path / "a.wav").write_bytes(made.get(content, content))
        with pytest.raises(LensError, match=message):
            bauklens.logit_lens(model, processor, self.TEXT, audio=[SOUND, tmp_path / "a.wav"])

    def test_the_command_reads_files(self, tmp_path, monkeypatch):
        model, processor = qwen2_audio()
        monkeypatch.setattr("bauklens.cli.commands.load_model", lambda _: (model, processor))
        (tmp_path / "a.wav").write_bytes(wav(SOUND, "<f4"))
        written = tmp_path / "lens.json"
        options = ["--model", "tiny", "--audio", str(tmp_path / "a.wav"), "--json", str(written)]
        ran = CliRunner().invoke(main, ["lens", self.TEXT, *options])
        assert ran.exit_code == 0, ran.output
        assert '"grid":[]' in written.read_text()  # which could not be read again
        found = bauklens.LensResult.load(written)
        assert np.array_equal(found.top_ids, bauklens.logit_lens(model, processor, self.TEXT, audio=SOUND).top_ids)

    def test_a_sound_in_a_message_is_told_to_be_passed_beside_it(self):
        model, processor = qwen2_audio()
        chat = [{"role": "user", "content": [{"type": "audio", "audio": "a.wav"}]}]
        with pytest.raises(LensError, match="contain a sound, but sounds are read only from audio=: pass a WAV file"):
            bauklens.logit_lens(model, processor, messages=chat)

    def test_places_for_a_sound_that_is_missing(self):
        model, processor = qwen2_audio()
        with pytest.raises(LensError, match=r"no audio is given, .* or the processor and audio=$"):
            bauklens.logit_lens(model, processor, self.TEXT)

    @pytest.mark.parametrize("given", ["https://example.org/a.wav", b"RIFF", 3, [], np.zeros((2, 9)), [b"RIFF"]])
    def test_only_files_and_arrays_are_taken(self, given):
        model, processor = qwen2_audio()
        expected = "audio 1 is (a web address, and nothing is downloaded|.*: pass a WAV file, or an array)"
        with pytest.raises(LensError, match=expected):
            bauklens.logit_lens(model, processor, self.TEXT, audio=given)
