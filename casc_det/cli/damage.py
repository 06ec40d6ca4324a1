"""What of a data set could not be used, on the screen and in the exit code of `val` and `study`."""

import sys
from pathlib import Path
from typing import Any

from casc_det.base.terminal import printable

PROBLEMS = 10  # lines of them on the screen, at most


def name_problems(content: dict[str, Any], file: Path) -> None:
    """Print what of a data set could not be used: the first lines, and the file that holds all of them."""
    problems = content["problems"]
    for problem in problems[:PROBLEMS]:
        print(printable(problem), file=sys.stderr)
    if len(problems) > PROBLEMS:
        print(printable(f"... and {len(problems) - PROBLEMS} more like these, all in {file}"), file=sys.stderr)


def exit_code(content: dict[str, Any], strict: bool) -> int:
    """1 where images could not be used, which is said, unless that is accepted."""
    if not content["damaged"] or not strict:
        return 0
    files = f"{content['damaged']} files could not be used or do not fit, see above"
    print(f"casc-det: data: {files} (strict=false accepts that)", file=sys.stderr)
    return 1
