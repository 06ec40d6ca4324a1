"""Match the classes of a model and of a data set by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from casc_det.errors import ArgumentError
from casc_det.heads.detect.detections import Detections

ALIASES = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}  # VOC name: COCO name


@dataclass(frozen=True)
class ClassMap:
    """From the classes of a model to those of a data set.

    Attributes:
        label_of: (classes of the model,) the data set's label for each class of the model, -1 for none.
        missing: classes of the data set that the model does not know; they are not scored.
        unused: classes of the model that the data set does not have; their detections are left out.
    """

    label_of: np.ndarray
    missing: tuple[str, ...]
    unused: tuple[str, ...]


def _key(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def match_classes(
    model: list[str], truth: list[str], given: Mapping | None = None, of: str = "weights=", mappable: bool = True
) -> ClassMap:
    """Match by name: through `given`, then as written, then regardless of case and dashes, then through `ALIASES`.

    Several classes of the model may count as one of the data set, but none as two of them.

    Args:
        given: data set name -> model name, or several of them; these classes are matched in no other way.
        of: what the model was given as, for messages: `weights=`, `against=`. mappable: the verb has `map=`.

    Raises:
        ArgumentError: `given` names a class that is not there, a class of the model fits two of the data set, or no
            class is common to both.
    """
    label_of = np.full(len(model), -1, dtype=np.int64)
    ambiguous = partial(_ambiguous, of=of, mappable=mappable)
    given_labels = _match_given(model, truth, given or {}, label_of, of)
    free = set(range(len(truth))) - given_labels
    for form in (str, _key):
        _match_by(form, model, truth, free, label_of, ambiguous)
    free -= set(label_of.tolist())
    rivals = {_key(truth[j]): j for j in free}
    for i in np.flatnonzero(label_of >= 0):  # 'Person' beside 'person': which of them is the model's?
        if label_of[i] not in given_labels and _key(model[i]) in rivals:
            raise ambiguous(model[i], [truth[label_of[i]], truth[rivals[_key(model[i])]]])
    _match_by(_alias, model, truth, free, label_of, ambiguous)
    if (label_of < 0).all():
        argument = of.partition("=")[0]
        names = ", or map=<data set name>:<model name>,... where only the names differ" if mappable else ""
        raise ArgumentError(
            f"{'data' if of == 'weights=' else argument}: the data set has no class in common with the model of {of} "
            f"({few(truth)} against {few(model)}); give {argument}= of a model trained for it{names}"
        )
    missing = tuple(name for label, name in enumerate(truth) if label not in label_of)
    unused = tuple(name for name, label in zip(model, label_of, strict=True) if label < 0)
    return ClassMap(label_of, missing, unused)


def _match_by(
    form: Callable[[str], str],
    model: list[str],
    truth: list[str],
    free: set[int],
    label_of: np.ndarray,
    ambiguous: Callable[[str, list[str]], ArgumentError],
) -> None:
    """Give every class of the model that has no label yet the free one whose name has the same form."""
    labels: dict[str, list[int]] = {}
    for j in sorted(free):
        labels.setdefault(form(truth[j]), []).append(j)
    for i in np.flatnonzero(label_of < 0):
        fits = labels.get(form(model[i]), [])
        if len(fits) > 1:
            raise ambiguous(model[i], [truth[j] for j in fits])
        label_of[i] = fits[0] if fits else -1


def _match_given(model: list[str], truth: list[str], given: Mapping, label_of: np.ndarray, of: str) -> set[int]:
    """Enter `given` into `label_of`; the labels of the data set that it names."""
    labels = set()
    for name, targets in given.items():
        for target in [targets] if isinstance(targets, str) else targets:
            found, chosen = _named(truth, name), _named(model, target)
            if not found or not chosen:
                where, word = (f"model of {of}", target) if found else ("data set", name)
                raise ArgumentError(f"map: '{name}:{target}' names a class that the {where} does not have ('{word}')")
            if len(found) > 1:
                raise _ambiguous(target, [truth[j] for j in found], of)
            for i in chosen:
                if label_of[i] not in (-1, found[0]):
                    raise _ambiguous(model[i], [truth[label_of[i]], truth[found[0]]], of)
                label_of[i] = found[0]
            labels.add(found[0])
    return labels


def _named(names: list[str], name: str) -> list[int]:
    """The indices of a name as written, else regardless of case and dashes."""
    exact = [i for i, known in enumerate(names) if known == name]
    return exact or [i for i, known in enumerate(names) if _key(known) == _key(name)]


def _alias(name: str) -> str:
    return ALIASES.get(_key(name), _key(name))


def _ambiguous(name: str, several: list[str], of: str, mappable: bool = True) -> ArgumentError:
    listed = ", ".join(f"'{one}'" for one in several)
    whose = "the model's class" if of == "weights=" else f"the class of {of}"
    remedy = ", or let map= name each class of the model once" if mappable else ""
    return ArgumentError(
        f"{'map' if mappable else 'data'}: {whose} '{name}' cannot be several classes of the data set ({listed}); join "
        f"them in the data set{remedy}"
    )


def mapped(found: Detections, classes: ClassMap) -> Detections:
    """Detections in the labels of the data set; those of classes that it does not have are left out."""
    labels = classes.label_of[found.labels]
    return replace(found, labels=labels)[labels >= 0]


def few(names: Sequence[str]) -> str:
    """Names for a message, the first five of many."""
    return ", ".join(names[:5]) + (f", ... {len(names)} in all" if len(names) > 5 else "")
