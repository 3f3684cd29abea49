"""From what the page sends to what it shows: each answer is the values of one tab's parts, also where it is refused."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cutler_pl.api import CutLER
from cutler_pl.errors import CutlerError, InputError
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.ranges import SHARE, check
from cutler_pl.visual.image_files import save_image
from cutler_pl.web.demo import markup
from cutler_pl.web.demo.backbones import Backbones
from cutler_pl.web.demo.cutting import CutRequest, cut
from cutler_pl.web.demo.detection import detect
from cutler_pl.web.demo.downloads import Found, write_downloads
from cutler_pl.web.demo.figures import Pixels
from cutler_pl.web.demo.options import DemoOptions
from cutler_pl.web.demo.work_folder import WorkFolder
from cutler_pl.web.uploads import read_upload

log = get_logger(__name__)

HINT = "Upload an image, or choose one below it."


@dataclass(frozen=True)
class Answer:
    """What one tab shows.

    Attributes:
        status: HTML of the line that says how it went.
        figures: Files of the image before and after; None where there is none.
        details: HTML of the table, or of the rounds.
        downloads: `annotations.json` and `masks.zip`.
    """

    status: str
    figures: tuple[Path, Path] | None = None
    details: str = ""
    downloads: tuple[Path, Path] | None = None


@dataclass(frozen=True)
class Demo:
    """What answers the page.

    Attributes:
        model: The detector.
        checkpoint: What the detector is called on the page.
        backbones: Features to cut by.
        options: Limits of the uploads.
        work: Where files are read and written.
    """

    model: CutLER
    checkpoint: str
    backbones: Backbones
    options: DemoOptions
    work: WorkFolder

    def detect(self, upload: Any, score_threshold: Any) -> Answer:
        """The detector's answer to an uploaded image."""

        def run(image: Pixels, name: str) -> Answer:
            threshold = check("score threshold", score_threshold, SHARE, error=InputError)
            found = detect(self.model, image, score_threshold=threshold, file_name=name)
            text = f"{_count(found.found)} in {found.seconds:.2f} s by {self.checkpoint} on the {self.device}"
            return self._answer(text, (found.before, found.after), markup.detections_table(found.found), found.found)

        return self._answered(upload, run)

    def cut(self, upload: Any, backbone: Any, num_masks: Any, tau: Any, stop: Any) -> Answer:
        """MaskCut's answer to an uploaded image."""

        def run(image: Pixels, name: str) -> Answer:
            made = cut(self.backbones, image, CutRequest(backbone, num_masks, tau, stop), file_name=name)
            text = f"{_count(made.found)} in {made.seconds:.2f} s by {backbone} on the {self.device}"
            return self._answer(text, (made.before, made.after), markup.rounds(made), made.found)

        return self._answered(upload, run)

    @property
    def device(self) -> str:
        """Where it runs, in a word."""
        return self.model.device.type.upper().replace("CUDA", "GPU")

    def _answered(self, upload: Any, run: Callable[[Pixels, str], Answer]) -> Answer:
        if upload is None:
            return Answer(markup.status(HINT, kind="hint"))
        try:
            content = self.work.read_upload(upload, self.options.limits)
            return run(read_upload(content, self.options.limits), _name(upload))
        except CutlerError as error:
            log.info("refused: %s", error)
            return Answer(markup.status(_sentence(error), kind="error"))

    def _answer(self, text: str, figures: Sequence[Pixels], details: str, found: Found) -> Answer:
        folder = self.work.new_result()
        height, width = found.size_hw
        paths = (folder / "before.jpg", folder / "after.jpg")
        for path, figure in zip(paths, figures, strict=True):
            save_image(path, figure)
        status = markup.status(f"{text}; image of {width} × {height} pixels.")
        return Answer(status, paths, details, write_downloads(folder, found))


def _count(found: Found) -> str:
    number = len(found.instances)
    return f"{number or 'No'} {'object' if number == 1 else 'objects'}"


def _name(upload: dict[str, Any]) -> str:
    """The name of the uploaded file, without anything that could be a path."""
    name = PurePosixPath(str(upload.get("orig_name") or upload["path"]).replace("\\", "/")).name
    return "".join(letter for letter in name if letter.isprintable())[:100] or "image"


def _sentence(error: CutlerError) -> str:
    text = " ".join(str(error).split())
    return f"{text[:1].upper() if text[:1].isascii() else text[:1]}{text[1:]}."
