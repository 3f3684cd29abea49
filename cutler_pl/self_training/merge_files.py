"""The merge of a self-training round on files of any size: group by group of images, in constant memory."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cutler_pl.coco.grouped_file import GroupedFile
from cutler_pl.coco.io import read_results
from cutler_pl.coco.sorted_records import Groups, SortedRecords
from cutler_pl.coco.stream import images_first, is_list, read_list, writing_coco
from cutler_pl.coco.validation import InvalidRecords, OnError
from cutler_pl.runtime.garbage import paused_gc
from cutler_pl.self_training.merge import Counts, chosen_name, first_free_id
from cutler_pl.self_training.overlap import annotation_of, merge_images
from cutler_pl.self_training.select import selected


@paused_gc()
def merge_files(
    previous: str | Path, predictions: str | Path, output: str | Path, threshold: float, *, on_error: OnError = "raise"
) -> Counts:
    """Write the annotations of the next self-training round; the content is that of `merge_annotations`.

    Predictions that are COCO annotations instead of a list of results are held in memory, to match their images.

    Args:
        previous: COCO file of this round.
        predictions: File of COCO results or annotations.
        threshold: Least score of predictions that are kept.
        output: COCO file to write; temporary files of the size of the input lie beside it meanwhile.
        on_error: As of `merge_annotations`.

    Raises:
        DatasetNotFoundError: A file is not there.
        AnnotationError: A file or record is invalid.
        ConfigError: The threshold is not a number.
        OutputWriteError: There is no space left.
    """
    output = Path(output)
    before, unread = InvalidRecords(str(previous), on_error), InvalidRecords(str(predictions), on_error)
    unfit = InvalidRecords(chosen_name(str(predictions), threshold), on_error)
    with ExitStack() as stack:
        images, annotations, chosen, kept, new = (stack.enter_context(SortedRecords(output.parent)) for _ in range(5))
        old = GroupedFile(images_first(previous), images, annotations, before)
        results = _Counted(_results(Path(predictions), old, unread))
        for result in selected(results, threshold, unread):
            chosen.add(old.group_of(result.get("image_id")), (len(chosen), result))
        coco = stack.enter_context(writing_coco(output, old.header))
        found = Groups(chosen.drain(), 1)
        num_annotations = greatest_id = replaced = empty = 0
        for number, group in enumerate(old.groups()):
            merged = merge_images(group.coco, [entry for _, entry in found.take(number)], unfit)
            for image in merged.images:
                coco.image(image)
            for kept_id in merged.kept_ids:
                kept.add(*group.given[kept_id])
            for result in merged.added:
                new.add(len(new), result)
            num_annotations += len(group.coco["annotations"])
            greatest_id = max([greatest_id, *(annotation["id"] for annotation in group.coco["annotations"])])
            replaced, empty = replaced + merged.replaced, empty + merged.empty
        first_id = first_free_id(greatest_id, len(new), str(previous))
        for _, record in kept.drain():
            coco.annotation(record)
        for number, result in new.drain():
            coco.annotation(annotation_of(first_id + number, result))
        sources = (before, unread, unfit)
        for source in sources:
            source.report()
        done = Counts(
            added=len(new),
            predictions=results.count,
            replaced=replaced,
            annotations=num_annotations,
            empty=empty,
            total=len(kept) + len(new),
            dropped=[reason for source in sources for reason in source.reasons],
        )
    done.report(threshold)
    return done


class _Counted:
    """An iterable that counts what was taken from it."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items, self.count = items, 0

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            self.count += 1
            yield item


def _results(path: Path, old: GroupedFile, invalid: InvalidRecords) -> Iterator[Any]:
    if is_list(path):
        for batch in read_list(path):
            yield from batch
    else:
        found, unmatched = read_results(path, old.images(), on_error=invalid.on_error)
        invalid.reasons += unmatched.reasons
        yield from found
