"""A programme as drawn histories use it, and what must be in its tables, from what was acknowledged alone."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine, initialize
from sqlalchemy import select

from videoalign.contracts.output import write_json
from videoalign.contracts.records import INFO_FILE, Clip, DatasetInfo, Judgement, Label, Prompt
from videoalign.data.dataset import Dataset, flip
from videoalign.web.annotate.programme import deciding, judging, next_pair, people
from videoalign.web.annotate.programme.media_index import Library
from videoalign.web.annotate.programme.pairs import sync_pairs
from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.programme.programme import open_programme as open_at
from videoalign.web.annotate.programme.schema import Submission
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.storage.database import Database
from videoalign.web.annotate.storage.tables import Assignment, Kind, Pair, PairState, Person, PersonRole
from videoalign.web.refusals import Refusal

MEMORY = Path("/dev/shm")
PROMPTS = [Prompt(prompt_id=f"p{p}", text=f"prompt {p}") for p in range(4)]
CLIPS = [
    Clip(clip_id=f"c{p}-{k}", prompt_id=f"p{p}", path=f"clips/{p}-{k}.mp4", generator=f"g{min(k, 1)}", fps=8.0,
         num_frames=5, height=16, width=16)
    for p in range(4)
    for k in range(3)
]  # fmt: skip
FIRST_CLIPS = {clip.clip_id for clip in CLIPS if clip.prompt_id != "p3" and not clip.clip_id.endswith("-2")}
FOREIGN = Judgement(
    prompt_id="p0", clip_a="c0-0", clip_b="c0-1", rater="x", dimension="VQ", label="A", source_row="elsewhere:1"
)
NOTHING = {"gold_share": 0.0, "repeat_share": 0.0, "qualification_pairs": 0, "min_watch": 0.0, "repeat_gap": 1}
FIRST = {"raters_per_pair": 2}
FIRST_ROLES = (PersonRole.RATER, PersonRole.RATER, PersonRole.RATER, PersonRole.ADJUDICATOR)
BEGIN = 1_800_000_000.0


@cache
def template() -> Path:
    """A dataset and a programme with four people, to be copied: making them takes longer than a history."""
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    for name in ("prefs", "other"):
        dataset = Dataset.create(folder / name, DatasetInfo())
        dataset.add(prompts=PROMPTS[:3], clips=[clip for clip in CLIPS if clip.clip_id in FIRST_CLIPS])
        dataset.write_judgements([FOREIGN])
    store = Database(f"sqlite:///{folder}/annotate.sqlite")
    running = open_at(store, Library(folder / "prefs"), AnnotateSettings(**NOTHING, **FIRST), lambda: BEGIN)
    sync_pairs(running)
    for role in FIRST_ROLES:
        store.write(lambda session, role=role: people.invite(running, session, None, role, "Somebody")[0])
    store.close()
    return folder


@dataclass
class Turn:
    """A pair as somebody had it before them."""

    assignment: str
    person: int
    names: dict[str, str]
    """Dimension as it was asked -> what it is called now."""


@dataclass
class Spoken:
    """A verdict that was acknowledged."""

    person: int
    pair: tuple[str, str, str]
    kind: str
    swapped: bool
    labels: dict[str, str]
    """By today's name of the dimension, in the stored order of the clips."""
    discarded: bool = False


@dataclass
class Truth:
    """What must be in the tables."""

    verdicts: dict[str, Spoken] = field(default_factory=dict)
    excluded: dict[str, Spoken] = field(default_factory=dict)
    """Pairs that an adjudicator found not to be judged."""


class Programme(RuleBasedStateMachine):
    """Its servers and people, and what they were told."""

    @initialize()
    def start(self) -> None:
        self.home = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        shutil.copytree(template(), self.home, dirs_exist_ok=True)
        self.folder, self.time, self.writes, self.checks = self.home / "prefs", BEGIN, 0, 0
        self.store = Database(f"sqlite:///{self.home}/annotate.sqlite")
        self.settings: dict[str, Any] = {**FIRST}
        self.prompts, self.clips = {"p0", "p1", "p2"}, {*FIRST_CLIPS}
        self.dimensions = list(Dataset.open(self.folder).info.dimensions)
        self.desks: list[OpenProgramme] = []
        self.truth, self.turns, self.last = Truth(), [], None
        with self.store.read() as session:
            self.people = list(session.scalars(select(Person.id).order_by(Person.id)))
        self.called: dict[str, str] = {}
        """What became of names of dimensions: a server that has not followed yet asks by those of before."""
        self.most_on_pair: dict[int, int] = defaultdict(int)
        self.most_wanted = 0
        """Most raters that any server wanted a pair judged by since the last count."""
        self.serve()

    @property
    def running(self) -> OpenProgramme:
        """Of the server that was started last."""
        return self.desks[-1]

    def now(self) -> float:
        return self.time

    def serve(self, **more: Any) -> None:
        options = NOTHING | self.settings | more
        if options.get("gold") is not None:
            options["gold"] = self.write_gold(options["gold"])
        running = open_at(self.store, Library(self.folder), AnnotateSettings(**options), self.now)
        sync_pairs(running)
        self.desks = [*self.desks[-1:], running]
        self.most_wanted = max(self.most_wanted, running.settings.raters_per_pair)

    def write_gold(self, answer: str) -> Path:
        """Two pairs of the first clips, which may have left the dataset."""
        self.writes += 1
        file, name = self.home / f"gold{self.writes}.csv", self.dimensions[0].name
        rows = [f"c{p}-0,c{p}-1,{answer}" for p in range(2)]
        file.write_text("\n".join([f"clip_a,clip_b,{name}", *rows]), encoding="utf-8")
        return file

    def change(self, prompts: set[str], clips: set[str]) -> None:
        """Writes the dataset, where that leaves something to judge."""
        left = Counter(clip.prompt_id for clip in CLIPS if clip.clip_id in clips and clip.clip_id[-1] in "01")
        if not any(left[prompt] == 2 for prompt in prompts):
            return
        self.prompts, self.clips = prompts, clips
        dataset = Dataset.open(self.folder)
        dataset.write_prompts([one for one in PROMPTS if one.prompt_id in prompts])
        dataset.write_clips([one for one in CLIPS if one.clip_id in clips])
        self.touch("prompts.parquet", "clips.parquet")

    def write_info(self) -> None:
        info = Dataset.open(self.folder).info.model_copy(update={"dimensions": tuple(self.dimensions)})
        write_json(self.folder / INFO_FILE, info.model_dump(mode="json"))
        self.touch(INFO_FILE)

    def touch(self, *names: str) -> None:
        """As if time had passed: the clock of a file system has wide steps."""
        self.writes += 1
        for name in names:
            os.utime(self.folder / name, ns=(0, 10**18 + self.writes))

    def look_at(self, person: int, where: int) -> Turn | None:
        def work(running: OpenProgramme, session: Any, somebody: Person) -> Any:
            return next_pair.next_body(running, session, somebody)

        body = self.act(person, where, work)
        if not body or body["assignment"] is None:
            return None
        names = [one["name"] for one in body["assignment"]["dimensions"]]
        turn = Turn(body["assignment"]["id"], person, {name: self.called.get(name, name) for name in names})
        self.turns = [*(one for one in self.turns if one.assignment != turn.assignment), turn][-12:]
        return turn

    def say(self, turn: Turn, where: int, pattern: tuple[str, str]) -> bool:
        """Whether a verdict was acknowledged."""
        sides = {name: pattern[place % 2] for place, name in enumerate(turn.names)}
        watched = {"left": 5.0, "right": 5.0}
        body = Submission(assignment=turn.assignment, verdicts=sides, comment="hm", watched_seconds=watched)
        if self.act(turn.person, where, lambda *at: judging.submit(*at, body)) is None:
            return False
        row = self.row(turn.assignment)
        plain = {"left": Label.A, "right": Label.B, "tie": Label.TIE, "both_bad": Label.BOTH_BAD}
        labels = {
            turn.names[name]: str(flip(plain[side]) if row.swapped else plain[side]) for name, side in sides.items()
        }
        before = self.truth.verdicts.get(turn.assignment)
        assert before is None or before.labels == labels, "another verdict is refused"
        if before is None:
            self.truth.verdicts[turn.assignment] = self.spoken(row, labels)
        self.last = (turn, pattern)
        return True

    def act(self, person: int, where: int, what: Callable[..., Any]) -> Any:
        """At one of the servers; None where it refuses."""
        running = self.desks[where % len(self.desks)]

        def work(session: Any) -> Any:
            return what(running, session, people.find(session, person)) or {}

        return self.write(work)

    def write(self, work: Callable[[Any], Any]) -> Any:
        try:
            return self.store.write(work)
        except Refusal:
            return None

    def present(self, person: int) -> bool:
        return person in self.people

    def row(self, assignment: str) -> Any:
        columns = (*Assignment.__table__.columns, Pair.prompt_id, Pair.clip_a, Pair.clip_b)
        with self.store.read() as session:
            return session.execute(select(*columns).join(Pair).where(Assignment.id == assignment)).one()

    def spoken(self, row: Any, labels: dict[str, str]) -> Spoken:
        return Spoken(row.person_id, (row.prompt_id, row.clip_a, row.clip_b), row.kind, row.swapped, labels)

    def pairs(self) -> list[Any]:
        with self.store.read() as session:
            return session.execute(ALL_PAIRS).all()

    def told(self, names: list[str]) -> list[tuple[Any, ...]]:
        """The rows that the tables must have, without the known answers."""
        rows = []
        for assignment, one in [*self.truth.verdicts.items(), *self.truth.excluded.items()]:
            here = one.pair[0] in self.prompts and {*one.pair[1:]} <= self.clips
            role = deciding.VOICES[Kind(one.kind)]
            who = f"{'adjudicator' if one.kind == Kind.ADJUDICATION else 'rater'}-{one.person}"
            labels = one.labels or dict.fromkeys(names, str(Label.INVALID))
            for name, label in labels.items() if here and not one.discarded else ():
                rows.append((assignment, *one.pair, who, name, label, str(role), "B" if one.swapped else "A"))
        return rows


def as_told(row: Judgement) -> tuple[Any, ...]:
    assignment = row.source_row.partition(":")[2]
    return (assignment, row.prompt_id, row.clip_a, row.clip_b, row.rater, row.dimension, str(row.label), str(row.role),
            row.left)  # fmt: skip


ALL_PAIRS = select(*Pair.__table__.columns).order_by(Pair.id)
PAIRS = ALL_PAIRS.where(Pair.state != PairState.RETIRED)
