"""The tables of options as text: `--help` on the terminal, and Markdown for the page of the command line."""

from casc_det.cli.options import REQUIRED, Option
from casc_det.cli.verbs import VERBS


def overview() -> str:
    """What `casc-det --help` shows."""
    return "\n".join(
        [
            "casc-det: YOLO detectors as spiking networks, converted without loss",
            "",
            "usage: casc-det VERB key=value ...",
            "",
            *(f"  {name:<9} {verb.summary}" for name, verb in VERBS.items()),
            "",
            "casc-det VERB --help lists a verb's arguments; casc-det --version.",
        ]
    )


def verb_help(name: str) -> str:
    """What `casc-det VERB --help` shows."""
    verb = VERBS[name]
    lines = [f"casc-det {name}: {verb.summary}", "", f"  {verb.example}", ""]
    for key, option in verb.options.items():
        default = default_words(option)
        shown = f" [{default}]" if default else " (required)" if option.default is REQUIRED else ""
        lines.append(f"  {key:<12} {option.help} ({option.kind.words}){shown}")
    return "\n".join(lines + ([f"  {verb.more_help}"] if verb.more_help else []))


def option_table(name: str) -> str:
    """The options of a verb as a Markdown table, and what it takes besides."""
    lines = ["| argument | meaning | type | default |", "| --- | --- | --- | --- |"]
    for key, option in VERBS[name].options.items():
        default = default_words(option)
        shown = f"`{default}`" if default else "**required**" if option.default is REQUIRED else ""
        lines.append(f"| `{key}` | {option.help.replace('<', '&lt;')} | {option.kind.words} | {shown} |")
    return "\n".join(lines + (["", VERBS[name].more_help] if VERBS[name].more_help else []))


def default_words(option: Option) -> str:
    """The default as it would be typed; empty where there is none."""
    if option.default is None or option.default is REQUIRED:
        return ""
    return str(option.default).lower() if isinstance(option.default, bool) else str(option.default)
