"""Options of the server and of single requests: dataclasses whose annotations say which values they take."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, TypeVar, cast

from cutler_pl.errors import ConfigError
from cutler_pl.maskcut.params import MaskCutParams, Stop
from cutler_pl.runtime.ranges import Count, Integer, Number, Share, check, check_fields, rules_of
from cutler_pl.web.api.errors import RequestError
from cutler_pl.web.uploads import UploadLimits

_SPECIAL = {"": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """What a server accepts and how it batches.

    Attributes:
        max_bytes: Of an uploaded file.
        max_pixels: Width times height of an uploaded image.
        batch_size: Images that go through a network together, at most.
        batch_delay: Seconds that the first image of a batch waits for others.
        max_queue: Requests that are read, wait or run at once; more are refused.
        timeout: Seconds from the arrival of a request to its answer.
    """

    max_bytes: Count = UploadLimits.max_bytes
    max_pixels: Count = UploadLimits.max_pixels
    batch_size: Count = 8
    batch_delay: Annotated[float, Number(min=0, max=10)] = 0.005
    max_queue: Count = 32
    timeout: Annotated[float, Number(above=0, max=86_400)] = 60.0

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def limits(self) -> UploadLimits:
        """Those of an upload."""
        return UploadLimits(max_bytes=self.max_bytes, max_pixels=self.max_pixels)


@dataclass(frozen=True, kw_only=True)
class RequestOptions:
    """Form fields of every request.

    Attributes:
        score_threshold: Detections score above it; the server's own if null.
        max_detections: Detections, the best ones; as many as the server gives if null.
    """

    score_threshold: Share | None = None
    max_detections: Count | None = None

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class MaskCutOptions(RequestOptions):
    """Form fields of a request for MaskCut; the server's own values if null.

    Attributes:
        num_masks: N, rounds of cutting, so at most this many masks.
        tau: τ, the cosine similarity above which two patches are similar.
        stop: When to stop looking for objects before round N.
        crf: Fit the masks to the image's edges.
    """

    num_masks: Annotated[int, Integer(1, 20)] | None = None
    tau: Annotated[float, Number(min=0, below=1)] | None = None
    stop: Stop | None = None
    crf: bool = True

    def params(self, own: MaskCutParams) -> MaskCutParams:
        """Constants of the cut; `own` are the server's."""
        given = {name: getattr(self, name) for name in ("num_masks", "tau", "stop")}
        kept = {field.name: getattr(own, field.name) for field in fields(own)}
        return MaskCutParams(**kept | {name: value for name, value in given.items() if value is not None})


Options = TypeVar("Options", bound=RequestOptions)


def read_options(owner: type[Options], texts: Mapping[str, str]) -> Options:
    """The options that form fields give.

    Raises:
        RequestError: With status 400, a field does not exist or has a value that it does not take.
    """
    known = [field.name for field in fields(owner)]
    for name in texts:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            listed = ", ".join(["image", *known])
            raise RequestError(f"there is no form field {name[:60]!r}{hint}; the fields are {listed}", status=400)
    rules = rules_of(cast(Any, owner))
    try:
        return owner(**{name: check(name, _value(text), rules[name]) for name, text in texts.items()})
    except ConfigError as error:
        raise RequestError(f"{error}; correct the form field", status=400) from error


def _value(text: str) -> Any:
    """What a text stands for: null, a truth value, a number, else itself."""
    text = text.strip()
    if text.lower() in _SPECIAL:
        return _SPECIAL[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
