"""Hypothesis strategies of checkpoint files: honest ones, damaged ones, and ones written to do harm."""

import io
import pickle
import pickletools
import struct
import warnings
import zipfile
from functools import cache
from typing import Any

import safetensors.torch
import torch
from coco_strategies import odd
from hypothesis import strategies as st

from cutler_pl.models import build_detector

DTYPES = (
    torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int8, torch.uint8, torch.bool,
    torch.complex64,
)  # fmt: skip
OPTIONS = (
    "num_classes", "fpn_channels", "box_head_dim", "mask_head_channels", "mask_head_convs", "backbone", "norm",
    "stage_ious", "stage_box_weights", "class_agnostic_boxes", "anchor_sizes", "anchor_ratios", "pixel_mean", "unknown",
)  # fmt: skip
SIZES = (0, 1, 3, 64, 4096, 65_536, 65_537, 10**6, 2**31, 2**63, -1, 0.5)


@cache
def names() -> list[str]:
    """Names of a detector's weights, in the words of this project."""
    with torch.device("meta"):
        model = build_detector("cascade_mask_rcnn_r50_fpn", backbone="resnet18")
    return [*model.state_dict()]


shapes = st.lists(st.integers(0, 4), max_size=4)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Small tensors of any type, contiguous or not, and some that repeat one number many times."""
    shape = draw(shapes)
    value = torch.zeros(shape).to(draw(st.sampled_from(DTYPES)))
    change = draw(st.integers(0, 9))
    if change == 0 and value.is_floating_point():
        return torch.full_like(value, draw(st.sampled_from([float("nan"), float("inf"), 6e4])))
    if change == 1:
        return value.new_zeros(()).expand(draw(st.sampled_from([[1000], [65_536, 1000], [1 << 13, 1 << 13], [1, 0]])))
    return value.mT if change == 2 and value.ndim > 1 else value


values = st.one_of(tensors(), tensors(), tensors(), odd)


@st.composite
def states(draw: st.DrawFn) -> dict[Any, Any]:
    """State dicts: some names of a detector, most or all of them, or any keys."""
    own = names()
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return draw(st.dictionaries(st.one_of(st.text(max_size=5), st.integers(), st.none()), values, max_size=4))
    if kind == 1:
        return draw(st.dictionaries(st.sampled_from(own), values, max_size=8))
    value, missing = draw(tensors()), draw(st.sets(st.sampled_from(own), max_size=3))
    state: dict[Any, Any] = {name: value for name in own if name not in missing}
    return state | draw(st.dictionaries(st.sampled_from(own), values, max_size=4))


numbers = st.one_of(st.sampled_from(SIZES), odd)
descriptions = st.fixed_dictionaries(
    {
        "detector": st.one_of(
            st.dictionaries(
                st.sampled_from(OPTIONS),
                st.one_of(
                    numbers,
                    st.lists(numbers, max_size=5),
                    st.lists(st.lists(numbers, max_size=4), max_size=3),
                    st.sampled_from(
                        ["resnet18", "timm/convnext_xxlarge", "timm/no", "timm/../x", "bn", "gn", "frozen"]
                    ),
                ),
                max_size=4,
            ),
            odd,
        ),
        "category_ids": st.one_of(st.just([1]), st.lists(odd, max_size=3), odd),
        "class_names": st.one_of(st.none(), st.just(["fg"]), odd),
    }
)


@st.composite
def contents(draw: st.DrawFn) -> Any:
    """What is saved: a state dict, bare or wrapped, with and without a description and the parts of a training."""
    state = draw(states())
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return state
    if kind == 1:
        return draw(values)
    content: dict[Any, Any] = {draw(st.sampled_from(["model", "state_dict", "teacher"])): state}
    if kind > 2:
        content["model_config"] = draw(st.one_of(descriptions, descriptions, odd))
    if kind == 5:
        content |= {"optimizer_states": draw(st.one_of(st.just([]), odd)), "lr_schedulers": [], "loops": {}}
        content |= {"global_step": draw(st.one_of(st.integers(0, 9), odd)), "state_dict": state}
    return content


def _saved(content: Any, *, zipped: bool) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


@st.composite
def honest(draw: st.DrawFn) -> bytes:
    """Complete files of every format."""
    content, kind = draw(contents()), draw(st.integers(0, 4))
    if kind == 3:
        return pickle.dumps(_arrays(content), protocol=draw(st.integers(0, 5)))
    if kind == 4:
        plain = {str(i): v.clone().contiguous() for i, v in enumerate(_tensors(content)) if v.numel() < 10_000}
        return safetensors.torch.save(plain, metadata={"model_config": draw(st.text(max_size=20))})
    return _saved(content, zipped=kind < 2)


def _arrays(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.float().numpy() if value.numel() < 10_000 and not value.is_complex() else None
    return {key: _arrays(part) for key, part in value.items()} if isinstance(value, dict) else value


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for part in value.values() for t in _tensors(part)] if isinstance(value, dict) else []


@st.composite
def changed(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes flipped, cut out, put in, or cut off at the end."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 4)) == 0 else data)


@st.composite
def opcodes(draw: st.DrawFn) -> bytes:
    """Instructions of pickles in any order, with arguments that are short, long or lie about their length."""
    pieces = [b"\x80\x02"]
    for _ in range(draw(st.integers(1, 12))):
        code = draw(st.sampled_from(pickletools.opcodes))
        argument = draw(
            st.one_of(
                st.sampled_from([
                    b"", b"\x00", b"\x01", b"\xff" * 4, struct.pack("<I", 1 << 28), struct.pack("<Q", 1 << 40),
                    b"collections\nOrderedDict\n", b"torch._utils\n_rebuild_tensor_v2\n", b"numpy\ndtype\n",
                    b"numpy\nndarray\n", b"os\nsystem\n", b"builtins\neval\n", b"argparse\nNamespace\n",
                    b"9" * 30 + b"\n",
                    b"torch\nFloatStorage\n", b"numpy.core.multiarray\n_reconstruct\n",
                ]),
                st.binary(max_size=6),
            )
        )  # fmt: skip
        pieces.append(code.code.encode("latin1") + argument)
    return b"".join([*pieces, draw(st.sampled_from([b".", b"}.", b""]))])


@st.composite
def spliced(draw: st.DrawFn) -> bytes:
    """Two pickles cut between their instructions and joined, parts of them repeated."""
    pieces: list[bytes] = []
    for _ in range(2):
        content = pickle.dumps(_arrays(draw(contents())), protocol=draw(st.integers(1, 4)))
        places = [place for _, _, place in pickletools.genops(content) if place is not None]
        start, end = sorted((draw(st.sampled_from(places)), draw(st.sampled_from(places))))
        pieces += [content[:start], content[start:end] * draw(st.integers(1, 3))]
    return b"".join(pieces) + b"."


@st.composite
def rewritten(draw: st.DrawFn) -> bytes:
    """Archives whose parts are changed and whose checksums are right again."""
    with zipfile.ZipFile(io.BytesIO(_saved(draw(contents()), zipped=True))) as archive:
        parts = [(name, archive.read(name)) for name in archive.namelist()]
    place = draw(st.integers(0, len(parts) - 1)) if draw(st.booleans()) else 0
    name, content = parts[place]
    parts[place] = (name, draw(st.one_of(changed(content), opcodes(), spliced())))
    kind = draw(st.integers(0, 5))
    if kind == 0:
        parts += [draw(st.sampled_from(parts))]
    elif kind == 1:
        parts = [part for part in parts if part != draw(st.sampled_from(parts))]
    stream = io.BytesIO()
    method = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", method) as archive:
        warnings.simplefilter("ignore")  # of names that occur twice
        for name, content in dict(parts).items() if kind else parts:
            archive.writestr(name, content)
    return stream.getvalue()


@st.composite
def starts(draw: st.DrawFn) -> bytes:
    """Free bytes after the start of a file of each kind."""
    free = draw(st.binary(max_size=60))
    header = struct.pack("<Q", draw(st.sampled_from([len(free), 1, 1 << 40]))) + b"{" + free
    old = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
    return draw(st.sampled_from([free, b"\x80\x04" + free, b"PK\x03\x04" + free, header, old + free]))


files = st.one_of(honest(), honest().flatmap(changed), rewritten(), rewritten(), opcodes(), spliced(), starts())
described = st.builds(
    lambda state, described: _saved({"model": state, "model_config": described}, zipped=True), states(), descriptions
)
