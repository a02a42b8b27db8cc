"""The page of an adapter: what taught it, how it went, and how to load it; the hub and peft read its head."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from videoalign.contracts.output import RUN_FILE, fingerprint, whole_file
from videoalign.contracts.versions import library_versions
from videoalign.data.lineage import Lineage, read_lineage
from videoalign.errors import DataError, ModelError, OutputError
from videoalign.evaluation.line_picture import training_picture
from videoalign.models.adapter_files import BASE_FILE, DIFFUSERS_FILE, SECOND_FOLDER, base_of
from videoalign.training.checkpoint import RunLog

CARD_FILE, CURVES_FILE = "README.md", "training.png"
MARK = "<!-- written by videoalign -->"

TAGS = {
    "WanImageToVideoPipeline": "image-to-video",
    "StableDiffusion3Pipeline": "text-to-image",
    "FluxPipeline": "text-to-image",
}
"""What the hub calls the task of a pipeline, where it is another than from a text to a video."""

METHODS = {"align sft": "supervised fine-tuning", "align rwr": "Flow-RWR", "align dpo": "Flow-DPO"}


def write_model_card(
    folder: str | Path, *, results: Mapping[str, Any] | None = None, arm: str = "candidate", licence: str | None = None
) -> Path:
    """Writes ``README.md`` into an adapter's folder, and its curves as ``training.png``; the path of the page.

    Everything is read from the folder. A page of ours is written anew, with the evaluation that is given now.

    Args:
        folder: what `align` left.
        results: of `evaluate` or `rounds`, as ``results.json`` holds them; None for no evaluation.
        arm: which of ``results["alignment"]`` is this adapter.
        licence: as the hub names it; None leaves the line to whoever publishes the adapter.

    Raises:
        ModelError: the folder holds no adapter that `align` made.
        DataError: the results hold no comparison of that arm.
        OutputError: there is a README.md that somebody else wrote, or the place cannot be written.
    """
    folder = Path(folder)
    card, base = folder / CARD_FILE, base_of(folder)
    if base is None or not (folder / RUN_FILE).is_file():
        raise ModelError(f"adapter: {folder} holds no {BASE_FILE} and {RUN_FILE}; wanted the folder of 'align --out'.")
    if results is not None and arm not in (results.get("alignment") or {}):
        raise DataError(f"evaluation: the results compare nothing called '{arm}'; give results.json of 'evaluate'.")
    require_own_page(folder)
    run = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    rows, lineage = RunLog(folder / "log.jsonl").rows(), read_lineage(folder)
    has_curves = training_picture(rows, folder / CURVES_FILE)
    sections = [
        MARK,
        f"# {folder.resolve().name}",
        f"A LoRA adapter of `{_source(base)}`, trained by {METHODS.get(run['command'], run['command'])}.",
        "## How to load",
        _how_to_load(folder, base),
        "## What taught it",
        markdown_table(["what", "value"], taught_rows(run, lineage)),
        "## Settings",
        markdown_table(["setting", "value"], setting_rows(run, rows)),
        *(["## Training", f"![loss and health of the training by step]({CURVES_FILE})"] if has_curves else []),
        "## Evaluation",
        *_evaluation(results, arm),
        "## Versions",
        ", ".join(f"{name} {version}" for name, version in library_versions().items()),
    ]
    head = yaml.safe_dump(_head(run, base, licence), sort_keys=False, allow_unicode=True)
    with whole_file(card) as aside:
        aside.write_text(f"---\n{head}---\n\n" + "\n\n".join(sections) + "\n", encoding="utf-8")
    return card


def require_own_page(folder: Path) -> None:
    """Checks that the page of a folder, where it has one, is ours to write anew.

    Raises:
        OutputError: it is somebody else's.
    """
    card = folder / CARD_FILE
    if card.is_file() and MARK not in card.read_text(encoding="utf-8", errors="replace"):
        raise OutputError(f"{card}: was written by somebody else; move it away first.")


def read_results(file: str | Path) -> dict[str, Any]:
    """What `evaluate` left in a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        found: dict[str, Any] = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"--evaluation: {file} cannot be read ({error}); give results.json of 'evaluate'.") from None
    return found


def _head(run: Mapping[str, Any], base: Mapping[str, Any], licence: str | None) -> dict[str, Any]:
    return {
        **({"license": licence} if licence else {}),
        "base_model": _source(base),
        "base_model_relation": "adapter",
        "library_name": "diffusers",
        "pipeline_tag": TAGS.get(base.get("pipeline", ""), "text-to-video"),
        "tags": ["lora", "peft", "diffusers", "video generation", "human preferences", "videoalign", run["command"]],
    }


def _source(base: Mapping[str, Any]) -> str:
    return str(base.get("source", base["name"]))


def _how_to_load(folder: Path, base: Mapping[str, Any]) -> str:
    kind = base.get("pipeline", "DiffusionPipeline")  # files of one model may name another, as those of Wan 2.2 TI2V
    lines = [f"from diffusers import {kind}", "", f'pipe = {kind}.from_pretrained("{_source(base)}")']
    if kind == "HunyuanVideo15Pipeline":
        lines.append(
            f'pipe.transformer.load_lora_adapter("PATH", prefix="transformer", weight_name="{DIFFUSERS_FILE}")'
        )
    else:
        lines.append('pipe.load_lora_weights("PATH")')
    if (folder / SECOND_FOLDER).is_dir():
        lines.append(f'pipe.load_lora_weights("PATH/{SECOND_FOLDER}", load_into_transformer_2=True)')
    told = "`PATH` is this folder. At strength 1 it does what it was trained to do, in diffusers and in peft alike."
    return "\n".join(["```python", *lines, "```", "", told])


def taught_rows(run: Mapping[str, Any], lineage: Lineage | None) -> list[tuple[str, str]]:
    """What taught, for a table."""
    rows = [("pairs, hash", str(run.get("pairs", ""))), ("latents, hash", str(run.get("latents", "")))]
    if lineage is None:
        return [("labels", "not recorded"), *rows]
    teachers = [", ".join(filter(None, (str(one), one.digest, one.weights))) for one in lineage.teachers]
    prompts = [("training prompts", str(len(lineage.prompts))), ("their hash", fingerprint(list(lineage.prompts)))]
    return [("labels by", "; ".join(teachers)), *prompts, *rows]


def setting_rows(run: Mapping[str, Any], rows: list[dict[str, float]]) -> list[tuple[str, str]]:
    """The settings of a run and what its log ends with, for a table."""
    told = {"fit", "lora", "times"}
    groups = {name: value for name, value in run.items() if name in told}
    single = {
        name: value
        for name, value in run.items()
        if name not in {*told, "command", "model", "pairs", "latents"} and value not in (None, False, "", 0, 0.0)
    }
    flat = {f"{group}.{name}": value for group, inner in groups.items() for name, value in inner.items()}
    if rows:
        flat = {"fit.num_steps": int(rows[-1]["step"]), "fit.learning_rate (last)": rows[-1]["learning_rate"], **flat}
    return [(name, json.dumps(value)) for name, value in {**single, **flat}.items()]


def _evaluation(results: Mapping[str, Any] | None, arm: str) -> list[str]:
    if results is None:
        return ["None yet. `videoalign evaluate` makes one, `videoalign adapter card --evaluation` puts it here."]
    comparison, notes = results["alignment"][arm], [results.get("judge_note"), results.get("prompts_note")]
    rows = [
        (name, f"{row['win_rate']:.2f}", f"{row['low']:.2f} to {row['high']:.2f}", row["n"], row["num_prompts"])
        for name, row in comparison.items()
    ]
    columns = ["dimension", "wins over the base", "95% interval", "clips", "prompts"]
    told = f"Judged by {results.get('judge')}, on the same prompts and noise; ties are half a win."
    return [*results.get("warnings", ()), told, markdown_table(columns, rows), " ".join(filter(None, notes))]


def markdown_table(columns: list[str], rows: list[Any]) -> str:
    """A table; what would break it is taken out of the cells."""
    cells = [[" ".join(str(cell).split()).replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [columns, ["---"] * len(columns), *cells])
