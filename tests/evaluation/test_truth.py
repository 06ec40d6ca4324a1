"""COCO files and VOC folders as people have them: what is read, what is named, what is refused and with which words."""

import copy
import json
import os
import re

import numpy as np
import pytest
from PIL import Image

from casc_det.errors import ArgumentError, CascError, SourceError
from casc_det.evaluation.coco import evaluate_coco, to_results
from casc_det.evaluation.truth import read_truth
from casc_det.heads.detect.detections import Detections

BOX = "<bndbox><xmin>11</xmin><ymin>6</ymin><xmax>50</xmax><ymax>45</ymax></bndbox>"


@pytest.fixture
def root(tmp_path):
    for name, size in (("a.png", (64, 48)), ("b.png", (80, 60))):
        Image.new("RGB", size).save(tmp_path / name)
    return tmp_path


def content(**changes) -> dict:
    images = [{"id": 7, "file_name": "a.png", "width": 64, "height": 48}]
    images += [{"id": 3, "file_name": "b.png", "width": 80, "height": 60}]
    annotations = [
        {"id": 0, "image_id": 7, "category_id": 2, "bbox": [1, 2, 30, 20], "area": 600, "iscrowd": 0},
        {"id": 1, "image_id": 3, "category_id": 1, "bbox": [5, 2, 40, 50], "area": 2000, "iscrowd": 0},
        {"id": 2, "image_id": 3, "category_id": 1, "bbox": [0, 0, 80, 60], "area": 4800, "iscrowd": 1},
    ]
    categories = [{"id": 2, "name": "cat"}, {"id": 1, "name": "dog"}]
    return copy.deepcopy({"images": images, "annotations": annotations, "categories": categories} | changes)


def read(root, value):
    file = root / "instances_x.json"
    file.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    return read_truth(file, images=root)


def facts(truth) -> list:
    """Everything that scores depend on."""
    facts = [truth.names, truth.problems, truth.damaged]
    for p in truth.images:
        facts += [p.width, p.height, p.boxes.tolist(), p.labels.tolist(), p.crowd.tolist(), p.areas.tolist()]
    return facts


# COCO -------------------------------------------------------------------------------------------------------------


def as_text(value):
    """The same JSON with every number as text, as tools make it of CSV."""
    if isinstance(value, dict):
        return {key: as_text(item) for key, item in value.items()}
    return [as_text(item) for item in value] if isinstance(value, list) else str(value)


def as_float(value):
    if isinstance(value, dict):
        return {key: as_float(item) for key, item in value.items()}
    return (
        [as_float(item) for item in value] if isinstance(value, list) else value if type(value) is str else float(value)
    )


@pytest.mark.parametrize("change", [as_text, as_float])
def test_numbers_as_text_are_numbers(root, change):
    plain, changed = read(root, content()), read(root, change(content()))
    assert facts(plain) == facts(changed) and plain.images[0].boxes.tolist() == [[1, 2, 31, 22]]
    found = [Detections(p.boxes, np.ones(len(p.boxes)), p.labels) for p in changed.images]
    results = to_results(changed, found)
    assert {r["image_id"] for r in results} == {change(7), change(3)}  # the user's own
    assert evaluate_coco(changed, results, [0, 1])[0]["mAP50-95"] == pytest.approx(1)


def test_only_one_side_as_text_matches_too(root):
    value = content()
    for a in value["annotations"]:
        a["image_id"], a["category_id"] = str(a["image_id"]), float(a["category_id"])
    assert facts(read(root, value)) == facts(read(root, content()))


def test_texts_are_ids_and_zeros_in_front_count(root):
    value = content()
    value["images"][0]["id"], value["images"][1]["id"] = "007", "7"
    for a, image in zip(value["annotations"], ("007", "7", 7), strict=True):
        a["image_id"] = image
    truth = read(root, value)
    assert [p.key for p in truth.images] == ["007", "7"] and [len(p.boxes) for p in truth.images] == [1, 2]


def test_what_scores_do_not_need_may_be_absent(root):
    value = content()
    for entry in (*value["images"], *value["annotations"]):
        for key in ("width", "height", "area", "id" if "bbox" in entry else "", "iscrowd" if entry["id"] == 0 else ""):
            entry.pop(key, None)
    expected = facts(read(root, content()))
    assert facts(read(root, value)) == expected
    value["images"][0] |= {"width": None, "height": 0}
    assert facts(read(root, value)) == expected


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_encodings_are_recognised(root, encoding):
    assert facts(read(root, json.dumps(content()).encode(encoding))) == facts(read(root, content()))


def test_file_names_from_windows(root):
    value, right = content(), facts(read(root, content()))
    (root / "day").mkdir()
    (root / "a.png").rename(root / "day/a.png")
    value["images"][0]["file_name"] = "day\\a.png"
    assert facts(read(root, value)) == right
    with pytest.raises(SourceError, match="give images=<folder>"):
        read_truth(root / "instances_x.json", images=root / "day/none")


def test_annotations_of_unlisted_images_are_left_out_and_named(root):
    value = content()
    value["images"].pop()
    truth = read(root, value)
    assert [p.key for p in truth.images] == [7] and truth.damaged == 0
    assert truth.problems == ["2 annotations belong to 1 images that are not listed (image_id 3): left out"]


def test_one_name_under_several_ids_is_one_class(root):
    value = content(categories=[{"id": 9, "name": "dog"}, {"id": 2, "name": "cat"}, {"id": 1, "name": "dog"}])
    truth = read(root, value)
    assert truth.names == ["dog", "cat"] and truth.category_ids == [1, 2] and truth.problems == []
    value["annotations"][1]["category_id"] = 9
    truth = read(root, value)
    assert [p.labels.tolist() for p in truth.images] == [[1], [0, 0]] and truth.category_ids == [9, 2]
    assert truth.problems == ["class 'dog' has several ids (9, 1): one class, with id 9"]


def test_other_sizes_than_those_of_the_files_are_named_and_counted(root):
    value = content()
    value["images"][0] |= {"width": 128, "height": 96}
    truth = read(root, value)
    assert truth.damaged == 1 and (truth.images[0].width, truth.images[0].height) == (64, 48)
    assert "1 of 2 images have another size than annotated" in truth.problems[0]
    assert "(a.png: 64 x 48, annotated 128 x 96); are these the right images" in truth.problems[0]


NOT_NUMBERS = [None, True, "x", "", "nan", float("nan"), float("inf"), -float("inf"), 10**400, [1], {}, "1_0", "1,5"]


def changed(place, value):
    """`content()` with one value replaced; place: keys and indices."""
    result = entry = content()
    for key in place[:-1]:
        entry = entry[key]
    entry[place[-1]] = value
    return result


@pytest.mark.parametrize(
    ("place", "values", "words"),
    [
        (("annotations", 1, "bbox", 2), NOT_NUMBERS, "annotations[1].bbox: expected a number, got "),
        (
            ("annotations", 1, "bbox"),
            [[1, 2, 3], [1, 2, 3, 4, 5], "1234", {}, None, []],
            "annotations[1].bbox: expected 4 ",
        ),
        (
            ("annotations", 1, "area"),
            [-1, "x", float("nan"), True],
            "annotations[1].area: expected a number from 0, got ",
        ),
        (("annotations", 1, "iscrowd"), [2, -1, "x", [], {}, 0.5], "annotations[1].iscrowd: expected 0 or 1, got "),
        (("annotations", 1, "category_id"), [5, -1, "x"], "annotations[1].category_id: "),
        (
            ("annotations", 1, "category_id"),
            [True, None, [], {}, 1.5],
            "annotations[1].category_id: expected an integer ",
        ),
        (
            ("annotations", 1, "image_id"),
            [True, None, [], {}, 1.5, float("nan")],
            "annotations[1].image_id: expected an ",
        ),
        (("annotations", 1), [3, None, [], "x"], "annotations[1]: expected an object {...}, got "),
        (("annotations",), [3, None, {}, "x"], "annotations: expected a list, got "),
        (("images", 1, "id"), [7, "7", 7.0], "images[1].id: "),
        (("images", 1, "id"), [True, None, [], {}, 1.5], "images[1].id: expected an integer or a text, got "),
        (
            ("images", 1, "width"),
            [-1, "x", True, float("nan"), 10**400, []],
            "images[1].width: expected a number from 0",
        ),
        (("images", 1, "height"), [60.5], "images[1].height: expected an integer, got 60.5"),
        (
            ("images", 1, "file_name"),
            [None, "", [], {}, "\0", "\ud800", True],
            "images[1].file_name: expected a text, got ",
        ),
        (("images",), [[]], "images: expected at least one"),
        (("categories",), [[]], "categories: expected at least one"),
        (("categories", 1, "id"), [2, "2"], "categories[1].id: "),
        (("categories", 1, "name"), [None, "", [], "\udfff"], "categories[1].name: expected a text, got "),
    ],
)
def test_wrong_values_are_refused_with_file_and_place(root, place, values, words):
    for value in values:
        with pytest.raises(SourceError) as caught:
            read(root, changed(place, value))
        message = str(caught.value)
        assert message.startswith(f"data: '{root}/instances_x.json' is no COCO instances file ({words}"), (
            value,
            message,
        )
        assert "\n" not in message and len(message) < 400


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (("images", 0, "id"), "images[0]: has no 'id'"),
        (("images", 0, "file_name"), "images[0]: has no 'file_name'"),
        (("annotations", 2, "bbox"), "annotations[2]: has no 'bbox'"),
        (("annotations", 2, "image_id"), "annotations[2]: has no 'image_id'"),
        (("annotations", 2, "category_id"), "annotations[2]: has no 'category_id'"),
        (("categories", 1, "name"), "categories[1]: has no 'name'"),
        (("annotations",), "the file: has no 'annotations'"),
    ],
)
def test_missing_keys_are_named(root, place, words):
    value = entry = content()
    for key in place[:-1]:
        entry = entry[key]
    del entry[place[-1]]
    with pytest.raises(SourceError, match=re.escape(words)):
        read(root, value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}],
            "it is a list, as files of results are",
        ),
        (b"[" * 100000, "it is nested too deeply"),
        (b'{"images":' * 100000, "it is nested too deeply"),
        (b'{"images": [], "annotations": [], "images": []}', "the key 'images' is there twice"),
        (b"", "Expecting value"),
        (b'{"images": [', "Expecting value"),
        (b"\xff\xff\xff", "can't decode"),
        (b"9" * 5000, "limit"),
        (3, "the file: expected an object"),
    ],
)
def test_other_files_are_refused_with_the_reason(root, value, words):
    with pytest.raises(SourceError) as caught:
        read(root, value)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_no_value_anywhere_gives_a_foreign_exception(root):
    """Every value of the file, replaced by each of many."""
    values = [*NOT_NUMBERS, 0, -1, 2**63, 1e308, "\ud800", "../a.png", "a" * 300, [[[]]], " 1", "-0", "٣"]

    def places(value, place=()):
        yield from [place] if place else []
        for key, item in value.items() if isinstance(value, dict) else enumerate(value) if type(value) is list else ():
            yield from places(item, (*place, key))

    for place in places(content()):
        for value in values:
            try:
                truth = read(root, changed(place, value))
                evaluate_coco(truth, [], list(range(len(truth.names))))
            except CascError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("data", ["no\0file.json", "x" * 5000 + ".json", "nothing.JSON", ""])
def test_impossible_paths_are_refused(data):
    with pytest.raises(SourceError, match="data: "):
        read_truth(data)


# VOC --------------------------------------------------------------------------------------------------------------


def voc(
    root, stem="img", image="img.jpg", line=None, size="<width>80</width><height>64</height>", filename=None, **more
):
    """A VOC folder of one image; more: edit (of the XML), xml (its name), encoding (of the list)."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder / stem).parent.mkdir(parents=True, exist_ok=True)
    (root / "JPEGImages" / image).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (80, 64)).save(root / "JPEGImages" / image)
    named = f"<filename>{image if filename is None else filename}</filename>"
    xml = f"<annotation>{named}<size>{size}</size><object><name>cat</name>{BOX}</object></annotation>"
    edited = more.get("edit", lambda t: t)(xml)
    file = root / "Annotations" / more.get("xml", f"{stem}.xml")
    file.write_bytes(edited if isinstance(edited, bytes) else edited.encode())
    (root / "ImageSets/Main/val.txt").write_text((line or stem) + "\n", encoding=more.get("encoding", "utf-8"))
    return root


FORMS = {
    "plain": {},
    "upper": {"image": "img.JPG"},
    "jpeg": {"image": "img.JPEG"},
    "bmp": {"image": "img.bmp"},
    "png": {"image": "img.png"},
    "webp": {"image": "img.webp"},
    "tif": {"image": "img.tif"},
    "blank": {"stem": "my img 2"},
    "blank and class": {"stem": "my img", "line": "my img  1", "image": "my img.jpg"},
    "not of the class": {"line": "img -1"},
    "difficult class": {"line": "img  0"},
    "named like a class list": {"stem": "img 1", "image": "img 1.jpg"},
    "dots": {"stem": "img.v1", "image": "img.v1.jpg"},
    "suffix": {"line": "img.jpg"},
    "suffix and class": {"line": "img.jpg 1"},
    "whole path": {"line": "/data/VOC2007/JPEGImages/img.jpg"},
    "path from elsewhere": {"line": "VOC2007/JPEGImages/img"},
    "other suffix": {"line": "img.PNG"},
    "folders": {"stem": "day/img", "image": "day/img.jpg"},
    "bom": {"encoding": "utf-8-sig"},
    "xml bom": {"edit": lambda t: "\ufeff" + t},
    "utf-16 xml": {"edit": lambda t: ('<?xml version="1.0" encoding="utf-16"?>' + t).encode("utf-16")},
    "latin-1 xml": {"edit": lambda t: f'<?xml version="1.0" encoding="latin-1"?><!-- \xe9 -->{t}'.encode("latin-1")},
    "filename": {"image": "photo of a cat.png"},
    "filename with folder": {"image": "photo.png", "filename": "C:\\images\\photo.png"},
    "filename without suffix": {"image": "photo.png", "filename": "photo"},
    "filename of another suffix": {"image": "photo.png", "filename": "photo.jpg"},
    "no filename": {"filename": ""},
    "no size": {"edit": lambda t: re.sub("<size>.*</size>", "", t)},
    "size 0": {"size": "<width>0</width><height>0</height>"},
    "half a size": {"size": "<width>80</width>"},
    "floats": {"size": "<width>80.0</width><height>64.00</height>", "edit": lambda t: t.replace(">11<", "> 11.0 <")},
    "difficult as word": {"edit": lambda t: t.replace("<bndbox>", "<difficult>False</difficult><bndbox>")},
    "upper xml": {"xml": "img.XML"},
    "list from windows": {"line": "JPEGImages\\img.jpg"},
    "gbk xml": {"edit": lambda t: f'<?xml version="1.0" encoding="GBK"?><!-- \u732b -->{t}'.encode("gbk")},
    "shift-jis xml": {"edit": lambda t: f'<?xml version="1.0" encoding="Shift_JIS"?>{t}<!--\u732b-->'.encode("cp932")},
    "utf-16 that is none": {"edit": lambda t: '<?xml version="1.0" encoding="utf-16"?>' + t},
    "blank lines first": {"edit": lambda t: '\r\n <?xml version="1.0" encoding="utf-8"?>' + t},
    "empty difficult": {"edit": lambda t: t.replace("<bndbox>", "<difficult/><bndbox>")},
}


@pytest.mark.parametrize("form", FORMS)
def test_voc_folders_as_people_have_them(tmp_path, form):
    options = FORMS[form]
    if "stem" in options:
        options = {"image": f"{options['stem']}.jpg"} | options
    truth = read_truth(voc(tmp_path, **options))
    assert truth.problems == [] and truth.damaged == 0 and truth.names == ["cat"]
    (image,) = truth.images
    assert image.boxes.tolist() == [[10, 5, 50, 45]] and (image.width, image.height) == (80, 64)
    assert image.path == str(tmp_path / "JPEGImages" / options.get("image", "img.jpg"))


def test_filename_decides_between_images_of_one_stem(tmp_path):
    voc(tmp_path, filename="img.png")
    Image.new("RGB", (80, 64)).save(tmp_path / "JPEGImages/img.png")
    assert read_truth(tmp_path).images[0].path.endswith("img.png")
    voc(tmp_path, filename="")
    assert read_truth(tmp_path).images[0].path.endswith("img.jpg")


BOMB = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda t: t.replace("<xmax>50</xmax>", ""), "object 1 has no xmax"),
        (lambda t: t.replace(">50<", ">much<"), "object 1, bndbox: expected a number, got 'much'"),
        (lambda t: t.replace(">50<", ">nan<"), "object 1, bndbox: expected a number, got 'nan'"),
        (lambda t: t.replace(">50<", ">inf<"), "object 1, bndbox: expected a number, got 'inf'"),
        (lambda t: t.replace(">50<", "><"), "object 1, bndbox: expected a number, got ''"),
        (lambda t: re.sub("<bndbox>.*</bndbox>", "", t), "object 1 has no xmin"),
        (lambda t: t.replace("<name>cat</name>", ""), "object 1, name: expected a text, got ''"),
        (lambda t: t.replace("<name>cat</name>", "<name/>"), "object 1, name: expected a text, got ''"),
        (lambda t: t.replace(">80<", ">wide<"), "width: expected a number from 0, got 'wide'"),
        (lambda t: t.replace(">80<", ">-80<"), "width: expected a number from 0, got '-80'"),
        (lambda t: t.replace("<bndbox>", "<difficult>7</difficult><bndbox>"), "object 1, difficult: expected 0 or 1"),
        (lambda t: t.replace("annotation", "html"), "expected <annotation>, got <html>"),
        (lambda t: t[:-20], "unclosed token"),
        (lambda t: "", "no element found"),
        (lambda t: "<?xml version='1.0' encoding='klingon'?>" + t, "klingon"),
        (lambda t: t.replace("cat", "a & b"), "not well-formed"),
        (lambda t: f'<!DOCTYPE b [<!ENTITY a0 "ha">{BOMB}]>' + t.replace("cat", "&a9;"), "a document type"),
        (lambda t: f'<!DOCTYPE b [<!ENTITY a0 "ha">{BOMB}]>{t}'.encode("utf-16"), "a document type"),
        (lambda t: t.replace("cat", '&x;"'), "undefined entity"),
    ],
)
def test_broken_annotations_are_named_with_the_reason(tmp_path, edit, reason):
    with pytest.raises(SourceError) as caught:
        read_truth(voc(tmp_path, edit=edit))
    assert "img.xml: broken (" in str(caught.value) and reason in str(caught.value), caught.value
    assert "\n" not in str(caught.value)


def test_deep_xml_is_no_crash(tmp_path):
    read_truth(
        voc(tmp_path, edit=lambda t: t.replace("</annotation>", "<a>" * 10**5 + "</a>" * 10**5 + "</annotation>"))
    )


def test_images_that_are_not_there_are_named_with_the_remedy(tmp_path):
    voc(tmp_path)
    (tmp_path / "JPEGImages/img.jpg").unlink()
    with pytest.raises(SourceError, match="for example '.*JPEGImages/img.jpg'; its folder is JPEGImages"):
        read_truth(tmp_path)
    with pytest.raises(ArgumentError, match="images: belongs to a COCO .json"):
        read_truth(tmp_path, images=tmp_path)


def test_pipes_are_no_files_and_nobody_waits_for_them(tmp_path):
    voc(tmp_path, line="img\npipe")
    os.mkfifo(tmp_path / "Annotations/pipe.xml")
    (problem,) = read_truth(tmp_path).problems
    assert problem.endswith("skipped") and "pipe.xml" in problem
    os.mkfifo(tmp_path / "instances.json")
    with pytest.raises(SourceError, match="is no COCO .json"):
        read_truth(tmp_path / "instances.json")


def test_names_listed_twice_count_once(tmp_path):
    truth = read_truth(voc(tmp_path, line="img\nimg.jpg\nimg 1"))
    assert len(truth.images) == 1 and truth.problems == ["img: listed twice; counted once"] * 2


def test_voc_without_objects_or_with_an_unreadable_list_is_refused(tmp_path):
    voc(tmp_path, edit=lambda t: re.sub("<object>.*</object>", "", t))
    with pytest.raises(SourceError, match="name no object"):
        read_truth(tmp_path)
    (tmp_path / "ImageSets/Main/val.txt").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(SourceError, match="val.txt' cannot be read"):
        read_truth(tmp_path)
    (tmp_path / "ImageSets/Main/val.txt").write_text("\n\n")
    with pytest.raises(SourceError, match="the list is empty"):
        read_truth(tmp_path)


def test_annotated_sizes_of_voc_are_held_against_the_files(tmp_path):
    truth = read_truth(voc(tmp_path, size="<width>800</width><height>640</height>"))
    assert truth.damaged == 1 and "img.jpg: 80 x 64, annotated 800 x 640" in truth.problems[0]
