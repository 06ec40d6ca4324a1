"""COCO, VOC and YAML are read alike; what is none of them is refused."""

import pytest
from tiny_sets import coco_file, save_images, voc_folder

from casc_det.errors import SourceError
from casc_det.evaluation.truth import read_truth


@pytest.fixture
def coco(tmp_path):
    return coco_file(tmp_path)


def test_coco_file_is_read_with_crowds_and_empty_images(coco):
    truth = read_truth(coco)
    assert truth.names == ["cat", "dog", "tv", "bird"] and truth.category_ids == [1, 3, 7, 9]
    assert [p.key for p in truth.images] == [10, 11, 12, 13]
    assert [len(p.boxes) for p in truth.images] == [2, 2, 0, 1]
    assert truth.images[0].boxes[0].tolist() == [5, 5, 45, 35]
    assert truth.images[1].crowd.tolist() == [True, False]
    assert truth.problems == ["003.jpg: box without extent (5, 5, 5, 5) skipped"] and truth.damaged == 0


def test_voc_corners_are_1_based_and_inclusive(tmp_path):
    truth = read_truth(voc_folder(tmp_path / "voc"))
    assert truth.names == ["sofa", "tvmonitor"]
    assert truth.images[0].boxes[0].tolist() == [10, 5, 50, 45]
    assert [p.difficult[0] for p in truth.images] == [False, True, False, True]
    assert truth.problems == ["001.jpg: box without extent (5, 6, 5, 6) skipped"]


def test_broken_and_absent_files_are_named_and_counted(tmp_path):
    root = voc_folder(tmp_path / "voc")
    (root / "Annotations" / "000.xml").write_text("<annotation>")
    (root / "Annotations" / "001.xml").unlink()
    (root / "JPEGImages" / "002.jpg").unlink()
    truth = read_truth(root)
    assert [p.key for p in truth.images] == ["003"] and truth.damaged == 3
    assert "broken" in truth.problems[0] and "unlabelled" in truth.problems[1] and "absent" in truth.problems[-1]


def test_yaml_labels_are_scaled_to_the_image(tmp_path):
    save_images(tmp_path / "images" / "val", 2)
    (tmp_path / "labels" / "val").mkdir(parents=True)
    (tmp_path / "labels" / "val" / "000.txt").write_text("1 0.5 0.5 0.25 0.5\n")
    yaml = tmp_path / "d.yaml"
    yaml.write_text("train: images/val\nval: images/val\nnames: [cat, dog]\n")
    truth = read_truth(yaml)
    assert truth.images[0].boxes.tolist() == [[30, 16, 50, 48]] and truth.images[0].labels.tolist() == [1]
    assert len(truth.images[1].boxes) == 0


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", "{}", "no COCO instances file"),
        ("a.json", "[1", "no COCO instances file"),
        ("a.txt", "x", "no COCO .json, VOC folder or dataset YAML"),
    ],
)
def test_file_of_another_kind_is_refused(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=words):
        read_truth(tmp_path / name)


def test_missing_data_is_refused(tmp_path, coco):
    with pytest.raises(SourceError, match="does not exist"):
        read_truth(tmp_path / "none.json")
    with pytest.raises(SourceError, match="is no VOC folder .*; give a COCO .json, a VOC folder or a dataset YAML$"):
        read_truth(tmp_path / "images")
    (tmp_path / "voc" / "ImageSets" / "Main").mkdir(parents=True)
    with pytest.raises(SourceError, match="has no list of its images"):
        read_truth(tmp_path / "voc")
    (tmp_path / "voc" / "ImageSets" / "Main" / "test.txt").write_text("a\n")
    with pytest.raises(SourceError, match=r"give split= \(test\)"):
        read_truth(tmp_path / "voc")
    (tmp_path / "images" / "d.yaml").write_text("path: .\ntrain: .\nval: .\nnames: [cat]\n")
    with pytest.raises(SourceError, match="for example data=.*d.yaml"):
        read_truth(tmp_path / "images")
    for split in ("test", "names", "path"):
        with pytest.raises(SourceError, match=rf"has no '{split}' entry with images; give split= \(train, val\)"):
            read_truth(tmp_path / "images" / "d.yaml", split=split)
    with pytest.raises(SourceError, match="is a COCO folder; give its annotation file"):
        read_truth(tmp_path)
    with pytest.raises(SourceError, match="give images=<folder>"):
        read_truth(coco, images=tmp_path / "elsewhere")
