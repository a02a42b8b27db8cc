"""What stands for the content of a clip's file."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from videoalign.contracts.digests import FileDigests
from videoalign.contracts.output import fingerprint
from videoalign.contracts.records import Asked, Clip, Judgement, media_of, text_of
from videoalign.data.tables import read_columns
from videoalign.errors import DataError, VideoError, first_few
from videoalign.stores.opening import stored_content
from videoalign.video.addresses import is_address, plain_place
from videoalign.video.files import probe

if TYPE_CHECKING:
    from videoalign.data.dataset import Dataset
    from videoalign.data.scores import ScoreTable

DIGESTS_FILE = "digests.json"
"""Where a folder remembers the digests of clips."""


def content_key(source: str | Path, digests: FileDigests) -> str:
    """Another content under the same name has another key.

    Args:
        source: a path; or an address that fsspec reads, see `stored_content`.
        digests: remembers those of files.

    Raises:
        VideoError: missing, or it cannot be read.
        ServerError: the store of a folder that a command was given does not answer.
    """
    try:
        place = plain_place(source)
        if not is_address(place):
            return digests.of(place)
        return stored_content(place)
    except FileNotFoundError:
        raise VideoError(f"{source}: no such file.") from None
    except IsADirectoryError:
        raise VideoError(f"{source}: is a folder, not a clip.") from None
    except PermissionError:
        raise VideoError(f"{source}: may not be read (permission denied).") from None
    except DataError as error:
        raise VideoError(str(error)) from None
    except (OSError, ValueError) as error:
        raise VideoError(f"{source}: cannot be read ({' '.join(str(error).split())[:160]}).") from None


def clip_keys(dataset: Dataset, clips: Iterable[Clip]) -> list[str]:
    """`content_key` of clips of a dataset, which remembers them in its ``digests.json``.

    Raises:
        VideoError: a clip that is missing or cannot be read.
    """
    digests = FileDigests(dataset.path / DIGESTS_FILE)
    keys = [content_key(dataset.clip_source(clip), digests) for clip in clips]
    digests.save()
    return keys


def asked_keys(dataset: Dataset, asked: Iterable[Asked]) -> list[str]:
    """What stands for all that a generator reads of what it is asked for: the text, and the content of a picture.

    Raises:
        VideoError: a picture that is missing or cannot be read.
    """
    digests = FileDigests(dataset.path / DIGESTS_FILE)
    rows = [(text_of(one), content_key(place, digests) if (place := media_of(one)) else "") for one in asked]
    digests.save()
    return [fingerprint([text, picture] if picture else text) for text, picture in rows]


def input_keys(dataset: Dataset, clips: Sequence[Clip]) -> list[str]:
    """What stands for all that a reward reads of each clip: its content and prompt; empty where it cannot be read."""
    digests = FileDigests(dataset.path / DIGESTS_FILE)
    texts = {prompt.prompt_id: prompt.text for prompt in dataset.prompts()}
    keys = [input_key_at(dataset.clip_source(clip), texts[clip.prompt_id], digests) for clip in clips]
    digests.save()
    return keys


def input_key(content: str, prompt: str) -> str:
    """`input_keys` of one clip, from its `content_key`."""
    return fingerprint([content, prompt])


def current_scores(dataset: Dataset, name: str, prompt_ids: Container[str] | None = None) -> ScoreTable:
    """`Dataset.scores`, after a look whether the clips are still those that were scored.

    Scores of earlier versions do not tell what they were given on and pass.

    Args:
        dataset: holds scores and clips.
        name: of the scores.
        prompt_ids: look at clips of these prompts alone; None for all.

    Raises:
        DataError: no scores of that name, or a clip that was replaced or removed since.
    """
    rows = dataset.scores(name)
    told = {row["clip_id"]: row["content"] for row in rows if row.get("content")}
    clips = [c for c in dataset.clips() if c.clip_id in told and (prompt_ids is None or c.prompt_id in prompt_ids)]
    keys = input_keys(dataset, clips)
    stale = [clip.clip_id for clip, key in zip(clips, keys, strict=True) if key != told[clip.clip_id]]
    if stale:
        raise DataError(
            f"{dataset.path}: scores '{name}' are stale for {len(stale)} clips, whose files or prompts were replaced "
            f"or removed since ({first_few(stale)}); score again with 'videoalign reward score --dataset'."
        )
    return rows


def replaced_clips(dataset: Dataset, prompt_ids: Container[str] | None = None) -> list[str]:
    """Ids of clips that are not what people judged under these ids: the file, or the prompt, is another one now.

    Judgements that do not tell what they were given on pass, and so do clips whose file is not there or is no clip any
    more: those are broken, which is told where they are read.

    Args:
        dataset: holds judgements and clips.
        prompt_ids: look at clips of these prompts alone; None for all.

    Raises:
        DataError: a table cannot be read.
    """
    told: dict[str, set[str]] = {}
    for clip, content in (("clip_a", "content_a"), ("clip_b", "content_b")):
        for part in read_columns(dataset.table_path(Judgement), Judgement, [clip, content]):
            for row in part.group_by([clip, content]).aggregate([]).to_pylist():
                if row[content]:
                    told.setdefault(row[clip], set()).add(row[content])
    if not told:
        return []
    known = {prompt.prompt_id for prompt in dataset.prompts() if prompt_ids is None or prompt.prompt_id in prompt_ids}
    clips = [clip for clip in dataset.clips() if clip.clip_id in told and clip.prompt_id in known]
    keys = input_keys(dataset, clips)
    other = [clip for clip, key in zip(clips, keys, strict=True) if key and told[clip.clip_id] != {key}]
    return [clip.clip_id for clip in other if _is_whole(dataset.clip_source(clip))]


def require_judged(dataset: Dataset, prompt_ids: Container[str] | None = None) -> None:
    """Checks that the clips are those that people judged; see `replaced_clips`.

    Raises:
        DataError: some were replaced since.
    """
    stale = replaced_clips(dataset, prompt_ids)
    if stale:
        raise DataError(
            f"{dataset.path}: judgements are stale for {len(stale)} clips, whose files or prompts were replaced since "
            f"they were judged ({first_few(stale)}); put them back, give the new ones ids of their own, or import the "
            "judgements again."
        )


def input_key_at(source: str | Path, prompt: str, digests: FileDigests) -> str:
    """`input_key` of the clip at a place as it is now; empty where it cannot be read."""
    try:
        return input_key(content_key(source, digests), prompt)
    except VideoError:
        return ""


def _is_whole(source: str | Path) -> bool:
    try:
        probe(source, every_frame=True)
    except VideoError:
        return False
    return True
