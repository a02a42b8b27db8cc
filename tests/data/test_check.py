"""Each thing that may be wrong is found, and a sound dataset has none of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

from videoalign.contracts.records import Clip, DatasetInfo, Judgement, Prompt, Rating
from videoalign.contracts.video import Video
from videoalign.data.check import REMEDIES, check_dataset, raise_if_any
from videoalign.data.counts import count
from videoalign.data.dataset import Dataset
from videoalign.errors import DataError
from videoalign.video.files import probe, write_video


@pytest.fixture
def dataset(tmp_path: Path, make_clip: Callable[..., Path]) -> Dataset:
    """Prompts p (train) and q (val) with two clips each, and one verdict on each."""
    made = Dataset.create(tmp_path / "d", DatasetInfo())
    made.write_prompts([Prompt(prompt_id="p", text="A cat"), Prompt(prompt_id="q", text="a dog", split="val")])
    clips = []
    for number, name in enumerate(("p0", "p1", "q0", "q1")):
        make_clip(made.path / "clips" / f"{name}.mp4", tint=10 * number)
        size = {"fps": 8.0, "num_frames": 5, "height": 16, "width": 16}
        clips.append(Clip(clip_id=name, prompt_id=name[0], path=f"clips/{name}.mp4", generator="m", **size))
    made.write_clips(clips)
    made.write_judgements([verdict("p", "A", "t.csv:2"), verdict("q", "tie", "t.csv:3")])
    return made


def verdict(prompt: str, label: str, row: str, **changes: str) -> Judgement:
    values = {"clip_a": f"{prompt}0", "clip_b": f"{prompt}1", "rater": "r", "dimension": "VQ", **changes}
    return Judgement(prompt_id=prompt, label=label, source_row=row, **values)


def found(dataset: Dataset) -> list[tuple[str, str]]:
    return [(problem.kind, problem.where) for problem in check_dataset(dataset)]


def test_a_sound_dataset_has_no_problem(dataset: Dataset) -> None:
    assert check_dataset(dataset) == []
    raise_if_any([], dataset.path)


def test_missing_and_truncated_clips_are_found(dataset: Dataset) -> None:
    (dataset.path / "clips" / "p0.mp4").unlink()
    cut = dataset.path / "clips" / "q1.mp4"
    cut.write_bytes(cut.read_bytes()[:-300])
    assert found(dataset) == [("broken_clip", "p0"), ("broken_clip", "q1")]
    with pytest.raises(DataError, match=r"2 problem\(s\) \(broken_clip 2\); the first: p0: .*no such file"):
        raise_if_any(check_dataset(dataset), dataset.path)


def test_a_clip_that_is_not_what_the_table_says_is_found(dataset: Dataset, make_clip: Callable[..., Path]) -> None:
    make_clip(dataset.path / "clips" / "p0.mp4", num_frames=7, height=18)
    (problem,) = check_dataset(dataset)
    assert (problem.kind, problem.where) == ("changed_clip", "p0")
    assert problem.what == "differs from clips.parquet in num_frames (7, not 5), height (18, not 16)."


def test_one_file_as_two_clips_is_found_and_across_splits_it_is_a_leak(dataset: Dataset) -> None:
    content = (dataset.path / "clips" / "p0.mp4").read_bytes()
    (dataset.path / "clips" / "p1.mp4").write_bytes(content)
    (dataset.path / "clips" / "q0.mp4").write_bytes(content)
    assert found(dataset) == [("same_clip", "p1"), ("leak", "q0")]


def test_one_file_under_two_prompts_of_a_split_is_found(dataset: Dataset) -> None:
    dataset.write_prompts([replace(prompt, split="train") for prompt in dataset.prompts()])
    (dataset.path / "clips" / "q0.mp4").write_bytes((dataset.path / "clips" / "p0.mp4").read_bytes())
    assert found(dataset) == [("shared_file", "q0")]


@pytest.mark.parametrize(
    ("encoder", "kinds"), [("libx264", []), ("libx265", ["unplayable"]), ("mpeg4", ["unplayable"])]
)
def test_clips_that_browsers_do_not_play_are_found(dataset: Dataset, encoder: str, kinds: list[str]) -> None:
    encode(dataset.path / "clips" / "p0.mp4", encoder, range(5))
    assert found(dataset) == [(kind, "p0") for kind in kinds]


def test_clips_whose_frames_are_shown_unevenly_are_found(dataset: Dataset) -> None:
    encode(dataset.path / "clips" / "p0.mp4", "libx264", (0, 1, 2, 4, 9))
    assert ("variable_rate", "p0") in found(dataset)


def encode(path: Path, encoder: str, times: Iterable[int], aspect: Fraction = Fraction(1)) -> None:
    """Five frames of 16 x 16, shown at these eighths of a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=8)
        stream.width = stream.height = 16
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 8)
        stream.codec_context.sample_aspect_ratio = aspect
        for number, time in enumerate(times):
            pixels = np.full((16, 16, 3), 20 * number, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 8)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def noise(num_frames: int = 24, height: int = 64, width: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def test_a_clip_that_is_damaged_in_the_middle_is_found(dataset: Dataset) -> None:
    file = dataset.path / "clips" / "p0.mp4"
    write_video(file, Video(noise(), 8.0))
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    file.write_bytes(content)
    assert probe(file).num_frames == 24
    (problem,) = [problem for problem in check_dataset(dataset) if problem.kind == "broken_clip"]
    assert problem.where == "p0"
    assert "p0.mp4: truncated or damaged" in problem.what


def test_a_stream_that_starts_inside_a_group_of_frames_is_found(dataset: Dataset) -> None:
    whole, cut = io.BytesIO(), dataset.path / "clips" / "p0.mp4"
    with av.open(whole, "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=8, options={"g": "12", "bf": "0", "x264-params": "scenecut=0"})
        stream.height = stream.width = 64
        stream.pix_fmt = "yuv420p"
        for frame in [*map(partial(av.VideoFrame.from_ndarray, format="rgb24"), noise()), None]:
            container.mux(stream.encode(frame))
    whole.seek(0)
    with av.open(whole) as source, av.open(str(cut), "w", format="mpegts") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if number >= 5 and packet.size:
                packet.stream = stream
                target.mux(packet)
    assert ("broken_clip", "p0") in found(dataset)


@pytest.mark.parametrize("size", [(1, 32, 32), (5, 2, 402), (5, 402, 2)])
def test_a_clip_that_no_reward_can_read_is_found(dataset: Dataset, size: tuple[int, int, int]) -> None:
    write_video(dataset.path / "clips" / "p0.mp4", Video(noise(*size), 8.0))
    problems = {problem.kind: problem for problem in check_dataset(dataset)}
    assert problems.keys() == {"unreadable", "changed_clip"}
    assert problems["unreadable"].where == "p0"


def test_a_clip_of_pixels_that_are_not_square_is_found(dataset: Dataset) -> None:
    encode(dataset.path / "clips" / "p0.mp4", "libx264", range(5), aspect=Fraction(2, 1))
    problems = {problem.kind: problem.what for problem in check_dataset(dataset)}
    assert problems["stretched"] == "its pixels are 2 times as wide as high; shown and read at 32x16."
    assert problems["changed_clip"] == "differs from clips.parquet in width (32, not 16)."


@pytest.mark.parametrize("mark", ["<|im_end|>", "<|VQ_reward|>", "<|video_pad|>"])
def test_a_prompt_with_a_special_token_is_found(dataset: Dataset, mark: str) -> None:
    dataset.write_prompts([replace(prompt, text=f"{prompt.text} {mark}") for prompt in dataset.prompts()])
    assert found(dataset) == [("special_token", "p"), ("special_token", "q")]


def test_signs_that_are_no_special_token_are_fine(dataset: Dataset) -> None:
    dataset.write_prompts([replace(prompt, text=f"{prompt.text} <video> <| a|b |> <3") for prompt in dataset.prompts()])
    assert found(dataset) == []


def test_prompts_of_a_benchmark_are_found_however_they_are_spelt(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "bench.csv").write_text('prompt,n\nA bird,1\n"a  CAT!",2\n')
    (tmp_path / "more.txt").write_text("a DOG.\n")
    files = [tmp_path / "bench.csv", tmp_path / "more.txt"]
    problems = check_dataset(dataset, benchmark_prompts=files)
    assert [(one.kind, one.where) for one in problems] == [("benchmark", "p"), ("benchmark", "q")]
    assert problems[1].what == f"in split 'val', stands in {files[1]}: 'a DOG.'."


def test_every_problem_comes_with_what_to_do(dataset: Dataset) -> None:
    (dataset.path / "clips" / "p0.mp4").unlink()
    (problem,) = check_dataset(dataset)
    assert problem.as_dict()["remedy"] == REMEDIES["broken_clip"]
    assert "no such file" in problem.as_dict()["what"]


def test_a_prompt_in_two_splits_is_found_however_it_is_spelt(dataset: Dataset) -> None:
    dataset.write_prompts([*dataset.prompts(), Prompt(prompt_id="p2", text="a  CAT", split="val")])
    assert found(dataset) == [("leak", "p2")]


def test_a_second_look_may_say_another_thing(dataset: Dataset) -> None:
    again = [verdict("p", label, f"t.csv:{n}", role="repeat") for n, label in enumerate(("B", "A"), 4)]
    dataset.write_judgements([*dataset.judgements(), *again])
    assert found(dataset) == []


def test_ids_that_stand_twice_are_found(dataset: Dataset) -> None:
    dataset.write_prompts([*dataset.prompts(), dataset.prompts()[0]])
    assert found(dataset) == [("duplicate", "p")]


@pytest.mark.parametrize(("row", "kind"), [
    (verdict("p", "A", "t.csv:4", dimension="VQQ"), "unknown"),
    (verdict("p", "left", "t.csv:4"), "unknown"),
    (verdict("p", "A", "t.csv:4", role="boss", rater="s"), "unknown"),
    (verdict("p", "A", "t.csv:4", left="c", rater="s"), "unknown"),
    (verdict("p", "A", "t.csv:4", clip_b="p9"), "unknown"),
    (verdict("p", "A", "t.csv:4", clip_b="p0", rater="s"), "crossed"),
    (verdict("p", "A", "t.csv:4", clip_b="q0"), "crossed"),
    (verdict("p", "A", "t.csv:4"), "duplicate"),
    (verdict("p", "B", "t.csv:4", clip_a="p1", clip_b="p0"), "duplicate"),
    (verdict("p", "B", "t.csv:4"), "contradiction"),
    (verdict("p", "A", "t.csv:4", clip_a="p1", clip_b="p0"), "contradiction"),
])  # fmt: skip
def test_judgements_that_do_not_fit_are_found(dataset: Dataset, row: Judgement, kind: str) -> None:
    dataset.write_judgements([*dataset.judgements(), row])
    assert found(dataset) == [(kind, "t.csv:4")]


@pytest.mark.parametrize("wrong", [{"label": "left"}, {"role": "boss"}, {"left": "c"}])
def test_a_word_that_is_none_is_told_wherever_judgements_are_counted(dataset: Dataset, wrong: dict[str, str]) -> None:
    dataset.write_judgements([*dataset.judgements(), replace(verdict("p", "A", "t.csv:4"), **wrong)])
    name, word = next(iter(wrong.items()))
    for count_them in (dataset.judged_pairs, lambda: list(dataset.stream_judgements())):
        with pytest.raises(DataError, match=rf"t\.csv:4: {name} '{word}' is not one of .*Correct the judgement\."):
            count_them()


def test_a_clip_whose_table_tells_no_rate_is_found(dataset: Dataset) -> None:
    first, *rest = dataset.clips()
    dataset.write_clips([replace(first, fps=float("nan")), *rest])
    assert found(dataset) == [("changed_clip", first.clip_id)]


def test_other_raters_and_dimensions_may_differ(dataset: Dataset) -> None:
    more = [verdict("p", "B", "t.csv:4", rater="s"), verdict("p", "B", "t.csv:5", dimension="MQ")]
    dataset.write_judgements([*dataset.judgements(), *more])
    assert found(dataset) == []


def test_two_known_answers_contradict_each_other_whoever_gave_them(dataset: Dataset) -> None:
    gold = [verdict("p", label, f"t.csv:{n}", rater=f"g{n}", role="gold") for n, label in enumerate("AAB", 4)]
    dataset.write_judgements([*dataset.judgements(), *gold[:2]])
    assert found(dataset) == []
    dataset.write_judgements([*dataset.judgements(), gold[2]])
    assert found(dataset) == [("contradiction", "t.csv:6")]


def test_ratings_that_do_not_fit_are_found(dataset: Dataset) -> None:
    good = Rating(clip_id="p0", rater="r", dimension="VQ", score=3.0, source_row="t.csv:5")
    dataset.write_ratings([good, replace(good, clip_id="p9"), replace(good, dimension="look")])
    assert found(dataset) == [("unknown", "t.csv:5"), ("unknown", "t.csv:5")]


def test_counts_are_those_of_the_tables(dataset: Dataset) -> None:
    dataset.write_judgements([*dataset.judgements(), verdict("p", "B", "t.csv:4", rater="s", clip_a="p1", clip_b="p0")])
    counts = count(dataset).as_dict()
    assert counts == {
        "prompts": 2,
        "clips": 4,
        "pairs": 2,
        "judgements": 3,
        "ratings": 0,
        "raters": 2,
        "splits": {"train": 1, "val": 1},
        "generators": {"m": 4},
        "labels": {
            "VQ": {"A": 1, "B": 1, "tie": 1, "both_bad": 0, "invalid": 0},
            "MQ": {"A": 0, "B": 0, "tie": 0, "both_bad": 0, "invalid": 0},
            "TA": {"A": 0, "B": 0, "tie": 0, "both_bad": 0, "invalid": 0},
        },
        "rejected": [],
    }
