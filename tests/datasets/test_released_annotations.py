import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import FileServer, serving

from cutler_pl.datasets.catalog import CATALOG
from cutler_pl.datasets.released_annotations import RELEASED, SPLITS_ARCHIVE, extract_member, fetch_released
from cutler_pl.errors import AnnotationError, ConfigError, DownloadError

COCO = json.dumps({"images": [{"id": 1}], "annotations": [{"id": 1}, {"id": 2}], "categories": [{"id": 1}]}).encode()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as server:
        yield server


def test_addresses_are_those_of_the_original() -> None:
    assert RELEASED["voc"] == "voc/trainvaltest_2007_cls_agnostic.json"
    assert RELEASED["lvis"] == "coco/lvis1.0_cocofied_val_cls_agnostic.json"
    assert RELEASED["openimages"] == "openImages/openimages_val_cls_agnostic.json"
    assert RELEASED["imagenet_maskcut"] == "maskcut/imagenet_train_fixsize480_tau0.15_N3.json"
    assert RELEASED["imagenet_r2"] == "maskcut/cutler_imagenet1k_train_r2.json"
    assert RELEASED["coco_semi_80"] == "coco-smi/annotations.zip"
    assert set(CATALOG) - set(RELEASED) == {"coco_80", "coco_100", "imagenet_r3"}


def test_fetch_and_count_released_file(server: FileServer, tmp_path: Path) -> None:
    server.files["/cutler/voc/trainvaltest_2007_cls_agnostic.json"] = COCO
    for _ in range(2):
        path, counts = fetch_released("voc", tmp_path, mirror=f"{server.address}/cutler/")
    assert path == tmp_path / "voc" / "annotations" / "trainvaltest_2007_cls_agnostic.json"
    assert (counts.images, counts.annotations, counts.categories) == (1, 2, 1)
    assert len(server.log) == 1


def test_refuse_html_instead_of_json(server: FileServer, tmp_path: Path) -> None:
    server.files["/kitti/trainval_cls_agnostic.json"] = b"<html>moved</html>"
    with pytest.raises(AnnotationError, match=r"trainval_cls_agnostic\.json sent is no annotation file"):
        fetch_released("kitti", tmp_path, mirror=server.address)
    assert not list(tmp_path.rglob("*.json"))[1:], "nothing but the notes on the transfer"
    server.files["/kitti/trainval_cls_agnostic.json"] = COCO
    assert fetch_released("kitti", tmp_path, mirror=server.address)[1].images == 1


def test_coco_splits_come_from_one_archive(server: FileServer, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("annotations/1perc_instances_train2017.json", COCO)
        archive.writestr("annotations/10perc_instances_train2017.json", COCO.replace(b"2}", b"3}"))
    server.files["/coco-smi/annotations.zip"] = packed.getvalue()
    for percent in (1, 10, 10):
        path, counts = fetch_released(f"coco_semi_{percent}", tmp_path, mirror=server.address)
        assert path == tmp_path / "coco" / "annotations" / f"{percent}perc_instances_train2017.json"
        assert counts.annotations == 2
    assert len(server.log) == 1
    with pytest.raises(AnnotationError, match=r"holds no 20perc_instances_train2017\.json"):
        fetch_released("coco_semi_20", tmp_path, mirror=server.address)
    path.write_bytes(COCO)
    with pytest.raises(DownloadError, match="has changed since it was fetched"):
        fetch_released("coco_semi_10", tmp_path, mirror=server.address)


def test_an_archive_that_is_none_is_refused(server: FileServer, tmp_path: Path) -> None:
    server.files["/coco-smi/annotations.zip"] = b"<html>"
    with pytest.raises(AnnotationError, match="sent is no zip archive"):
        fetch_released("coco_semi_10", tmp_path, mirror=server.address)
    (tmp_path / SPLITS_ARCHIVE).write_bytes(b"damaged")
    (tmp_path / f"{SPLITS_ARCHIVE}.sha256").write_text("")
    with pytest.raises(DownloadError, match="has changed since it was fetched"):
        fetch_released("coco_semi_10", tmp_path, mirror=server.address)


def test_datasets_without_a_released_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no file was released for name=imagenet_r3"):
        fetch_released("imagenet_r3", tmp_path, mirror="https://example.org")


@pytest.mark.parametrize(("local", "central", "value"), [(6, 8, 1), (8, 10, 99)], ids=["encrypted", "unknown method"])
def test_archive_that_cannot_be_unpacked(tmp_path: Path, local: int, central: int, value: int) -> None:
    """The flags and the method stand in the member's own header and in the archive's directory."""
    packed = tmp_path / "a.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("in/a.json", "{}")
    content = bytearray(packed.read_bytes())
    content[local] = content[content.index(b"PK\x01\x02") + central] = value
    packed.write_bytes(content)
    with pytest.raises(AnnotationError, match=r"a\.zip: cannot be unpacked"):
        extract_member(packed, tmp_path / "a.json")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
