"""What Ultralytics may do while it works for casc_det: read `.pt` files only through `unpickle.load`, fetch nothing."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import wraps
from types import ModuleType
from typing import Any, NoReturn

import ultralytics.engine.trainer
import ultralytics.engine.validator
import ultralytics.nn.tasks
import ultralytics.utils.callbacks
import ultralytics.utils.downloads
import ultralytics.utils.torch_utils

from casc_det.yolo.unpickle import check_holds_model, load

_reader: ContextVar = ContextVar("reader", default=None)  # reads a .pt file; None: Ultralytics is at work for others


@contextmanager
def _reading(reader: Callable[[Any], Any]) -> Iterator[None]:
    token = _reader.set(reader)
    try:
        yield
    finally:
        _reader.reset(token)


def guarded(trust: bool = False, argument: str = "model") -> AbstractContextManager[None]:
    """A context in which every `.pt` file that Ultralytics reads goes through `unpickle.load` with these arguments.

    Also: no downloads, no callbacks of web services.
    """
    return _reading(lambda file: load(file, trust, argument))


def _read_model(file: Any) -> dict:
    content = _reader.get()(file)
    check_holds_model(content)
    return content


def no_download(*_: object, **__: object) -> NoReturn:
    """In place of what fetches files."""
    raise ConnectionError("nothing is downloaded")


def _checked_dataset(original: Callable, dataset: Any, *_: object, split: str = "", **__: object) -> dict:
    """A dataset YAML without its `download:`."""
    return original(dataset, autodownload=False, split=split)


def _replace(module: ModuleType, name: str, function: Callable) -> None:
    """Put `function(original, *args)` in the place of a function of Ultralytics, inside `guarded` only."""
    original = getattr(module, name)

    @wraps(original)
    def chosen(*args: Any, **settings: Any) -> Any:
        return original(*args, **settings) if _reader.get() is None else function(original, *args, **settings)

    setattr(module, name, chosen)


def _check_amp(original: Callable, model: Any) -> bool:
    """Ultralytics' list of GPUs that cannot, without its trial, whose weights would come from the network."""
    with _reading(no_download):
        return original(model)


_replace(ultralytics.nn.tasks, "torch_safe_load", lambda _, file, *__, **___: (_read_model(file), str(file)))
_replace(ultralytics.utils.torch_utils, "torch_load", lambda _, file, *__, **___: _reader.get()(file))
_replace(ultralytics.utils.callbacks, "add_integration_callbacks", lambda *_: None)
_replace(ultralytics.utils.downloads, "safe_download", no_download)
_replace(ultralytics.engine.trainer, "check_amp", _check_amp)
_replace(ultralytics.engine.validator, "check_det_dataset", _checked_dataset)
