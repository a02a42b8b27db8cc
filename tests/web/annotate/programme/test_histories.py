"""Whatever happens to a programme, in whatever order: nothing that was acknowledged is lost, doubled or miscounted.

A machine draws histories: people judge, skip, think again, pause and are forgotten; admins discard work and take that
back; the dataset, its dimensions and the settings change; servers start beside one another on one database. What must
be in the tables is kept apart, from what was acknowledged alone. ``HISTORIES=1000`` draws so many others.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from sqlalchemy import func, select

from tests.web.annotate.drawn_programme import CLIPS, FOREIGN, PAIRS, PROMPTS, Programme, as_told, template
from videoalign.contracts.records import Dimension, Role
from videoalign.data.dataset import Dataset
from videoalign.data.judgements.aggregate import aggregate_pairs
from videoalign.errors import ConfigError
from videoalign.web.annotate.programme import deciding, discarding, forgetting, judging, people, records
from videoalign.web.annotate.programme.export import write_tables
from videoalign.web.annotate.programme.following import Follower
from videoalign.web.annotate.programme.media_index import Library, stamp
from videoalign.web.annotate.programme.programme import open_programme as open_at
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.storage.tables import Assignment, Kind, PairState, PersonRole, Said, Work

COUNT_EVERY = 4
"""Steps from one count to the next; there is one at the end as well."""
SIDES = st.sampled_from(["left", "right", "tie", "both_bad"])
WHO = st.integers(0, 9)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "raters_per_pair": st.integers(1, 3),
        "gold": st.sampled_from([None, "A", "B", "tie"]),
        "gold_share": st.sampled_from([0.0, 0.6]),
        "repeat_share": st.sampled_from([0.0, 0.6]),
        "qualification_pairs": st.integers(0, 2),
        "pass_mark": st.sampled_from([0.0, 1.0]),
        "min_gold": st.sampled_from([1, 5]),
        "pairs": st.sampled_from(["all", "across"]),
        "selection": st.sampled_from(["random", "coverage", "informative"]),
        "max_judgements_per_rater": st.sampled_from([None, 3]),
    },
)


@pytest.fixture(scope="module", autouse=True)
def _remove_template() -> Any:
    yield
    shutil.rmtree(template())


class Histories(Programme):
    """One programme."""

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        try:
            self.count()
            self.export()
        finally:
            self.store.close()
            shutil.rmtree(self.home)

    # What people do.

    @precondition(lambda self: len(self.people) < 7)
    @rule(role=st.sampled_from([PersonRole.RATER, PersonRole.ADJUDICATOR]))
    def invite(self, role: PersonRole) -> None:
        work = lambda session: people.invite(self.running, session, None, role, "Somebody")[0]  # noqa: E731
        self.people.append(self.store.write(work))

    @rule(who=WHO, where=WHO, sides=st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=4))
    def judge(self, who: int, where: int, sides: list[tuple[str, str]]) -> None:
        person = self.people[who % len(self.people)]
        for pattern in sides:
            turn = self.look_at(person, where)
            if turn is None:
                return
            self.say(turn, where, pattern)

    @precondition(lambda self: self.turns)
    @rule(which=st.integers(0, 99), where=WHO, sides=st.tuples(SIDES, SIDES))
    def judge_late(self, which: int, where: int, sides: tuple[str, str]) -> None:
        """A tab that was left open, perhaps after its pair was judged or went to others."""
        self.say(self.turns[which % len(self.turns)], where, sides)

    @precondition(lambda self: self.last is not None)
    @rule(where=WHO)
    def send_again(self, where: int) -> None:
        """As a browser does that did not hear the answer."""
        turn, pattern = self.last
        said = turn.assignment in self.truth.verdicts
        assert self.say(turn, where, pattern) or not said or not self.present(turn.person), "the same is taken again"

    @rule(who=WHO, where=WHO, late=st.booleans())
    def skip(self, who: int, where: int, late: bool) -> None:
        turn = self.turns[who % len(self.turns)] if late and self.turns else None
        turn = turn or self.look_at(self.people[who % len(self.people)], where)
        if turn is None:
            return
        skips = lambda running, session, person: judging.skip(running, session, person, turn.assignment, "broken")  # noqa: E731
        if self.act(turn.person, where, skips) is not None:
            row = self.row(turn.assignment)
            assert row.state in (Work.SKIPPED, Work.DISCARDED)
            if row.kind == Kind.ADJUDICATION and row.state == Work.SKIPPED:
                self.truth.excluded[turn.assignment] = self.spoken(row, {})

    @rule(who=WHO, where=WHO)
    def undo(self, who: int, where: int) -> None:
        person = self.people[who % len(self.people)]
        if self.act(person, where, judging.undo) is not None:
            turn = self.look_at(person, where)
            assert turn is not None and turn.assignment in self.truth.verdicts, "the pair that was judged last is back"
            del self.truth.verdicts[turn.assignment]

    @rule(seconds=st.sampled_from([5, 700, 4000]))
    def wait(self, seconds: int) -> None:
        self.time += seconds

    # What admins do.

    @rule(who=WHO, what=st.sampled_from(["pause", "resume", "resume"]))
    def stop_or_go(self, who: int, what: str) -> None:
        person = self.people[who % len(self.people)]
        self.write(
            lambda session: (
                people.pause(self.running, session, None, person, "rest")
                if what == "pause"
                else people.resume(self.running, session, None, person)
            )
        )

    @rule(who=WHO, back=st.booleans())
    def discard(self, who: int, back: bool) -> None:
        person = self.people[who % len(self.people)]
        turn = discarding.restore if back else discarding.discard
        self.store.write(lambda session: turn(self.running, session, None, person))
        for spoken in (*self.truth.verdicts.values(), *self.truth.excluded.values()):
            if spoken.person == person:
                spoken.discarded = not back
        self.most_on_pair.clear()  # more than were wanted may have judged by now

    @precondition(lambda self: len(self.people) > 4)
    @rule(who=WHO)
    def forget(self, who: int) -> None:
        person = self.people.pop(who % len(self.people))
        self.store.write(lambda session: forgetting.forget_in(self.running, session, person))
        with self.store.read() as session:
            mine = select(func.count()).select_from(Said).join(Assignment).where(Assignment.person_id == person)
            assert session.scalar(mine.where(Said.comment != "")) == 0

    # What happens to the dataset and the server.

    @rule(what=st.sampled_from([clip.clip_id for clip in CLIPS]))
    def put_or_take_clip(self, what: str) -> None:
        self.change(self.prompts, self.clips ^ {what})

    @rule(what=st.sampled_from([one.prompt_id for one in PROMPTS]), too=st.booleans())
    def put_or_take_prompt(self, what: str, too: bool) -> None:
        """With its clips, or alone."""
        prompts = self.prompts ^ {what}
        its = {clip.clip_id for clip in CLIPS if clip.prompt_id == what}
        self.change(prompts, (self.clips | its if what in prompts else self.clips - its) if too else self.clips)

    @precondition(lambda self: len(self.dimensions) < 5)
    @rule(text=st.booleans())
    def add_dimension_or_change_its_text(self, text: bool) -> None:
        if text:
            self.dimensions[0] = self.dimensions[0].model_copy(update={"guideline": f"Look at it, {self.writes}."})
        else:
            self.dimensions.append(Dimension(name=f"D{self.writes}", guideline="Is it good?"))
        self.write_info()

    @rule(which=WHO)
    def rename_dimension(self, which: int) -> None:
        self.follow()  # a name that no server has seen yet cannot become another
        place = which % len(self.dimensions)
        old, new = self.dimensions[place].name, f"R{self.writes}"
        self.dimensions[place] = self.dimensions[place].model_copy(update={"name": new})
        self.write_info()
        for spoken in self.truth.verdicts.values():
            spoken.labels = {new if name == old else name: label for name, label in spoken.labels.items()}
        for turn in self.turns:
            turn.names = {asked: new if now == old else now for asked, now in turn.names.items()}
        self.called = {name: new if now == old else now for name, now in self.called.items()} | {old: new}
        self.serve(rename={old: new})

    @rule(changes=CHANGES, beside=st.booleans())
    def restart(self, changes: dict[str, Any], beside: bool) -> None:
        """With other settings; ``beside`` the server that runs, or in its place."""
        self.settings |= changes
        if not beside:
            self.desks.clear()
        self.serve()

    @rule()
    def follow(self) -> None:
        """What every server does every two seconds."""
        for running in self.desks:
            Follower(running).look()
            assert running.library.stamp == stamp(self.folder), "the dataset can be followed"

    @rule()
    def serve_another_dataset(self) -> None:
        with pytest.raises(ConfigError, match="belongs to another dataset"):
            open_at(self.store, Library(self.home / "other"), AnnotateSettings(), self.now)

    @rule()
    def export(self) -> None:
        self.follow()
        write_tables(self.running)
        rows = Dataset.open(self.folder).judgements()
        assert [row for row in rows if not row.source_row.startswith(records.source(self.running))] == [FOREIGN]
        ours = [row for row in rows if row.source_row.startswith(records.source(self.running))]
        names = [one.name for one in self.dimensions]
        for row in ours:
            assert {row.clip_a, row.clip_b} <= self.clips and row.prompt_id in self.prompts and row.dimension in names
        known = [row for row in ours if row.role != Role.GOLD]
        assert Counter(map(as_told, known)) == Counter(self.told(names)), "each once, and nothing else"
        splits = dict.fromkeys(self.prompts, "train")
        labelling = [row for row in ours if row.role in (Role.RATER, Role.ADJUDICATOR, Role.GOLD)]
        labels = {(one.clip_a, one.clip_b): one.labels for one in aggregate_pairs(ours, names, splits)}
        only = {(one.clip_a, one.clip_b): one.labels for one in aggregate_pairs(labelling, names, splits)}
        assert labels == only, "tests and second looks are no votes"
        for pair in self.pairs():
            for name, decided in (pair.decision or {}).items() if pair.state == PairState.DECIDED else ():
                assert labels[pair.clip_a, pair.clip_b][name] == decided["label"], "pages and tables say the same"

    # What holds at any time.

    @invariant()
    def look_now_and_then(self) -> None:
        """To count takes longer than most steps."""
        self.checks += 1
        if self.checks % COUNT_EVERY == 0:
            self.count()

    def count(self) -> None:
        """Once every server knows the settings that hold: until it looks, one settles pairs by those of before."""
        self.follow()
        self.counters_are_what_can_be_counted()
        self.counting_all_anew_changes_nothing()

    def counters_are_what_can_be_counted(self) -> None:
        rating = (Assignment.kind == Kind.RATING, Assignment.state.in_([Work.LEASED, Work.SUBMITTED]))
        count = select(Assignment.pair_id, Assignment.state, func.count()).where(*rating)
        with self.store.read() as session:
            rows = session.execute(count.group_by(Assignment.pair_id, Assignment.state)).all()
            live = session.scalars(select(Said.assignment_id).where(Said.withdrawn_at.is_(None))).all()
        work = {(pair, state): number for pair, state, number in rows}
        assert Counter(live) == Counter(self.truth.verdicts.keys()), "one verdict that stands for each acknowledged"
        wanted = self.most_wanted
        for pair in self.pairs():
            judged, held = work.get((pair.id, Work.SUBMITTED), 0), work.get((pair.id, Work.LEASED), 0)
            if pair.state != PairState.RETIRED:
                assert (pair.judged, pair.taken) == (judged, judged + held), pair
                assert judged + held <= max(wanted, self.most_on_pair.get(pair.id, 99 if not self.most_on_pair else 0))
        self.most_on_pair = defaultdict(int)
        self.most_wanted = max(running.settings.raters_per_pair for running in self.desks)
        for (pair_id, _), number in work.items():
            self.most_on_pair[pair_id] += number

    def counting_all_anew_changes_nothing(self) -> None:
        class Undone(Exception):
            pass

        found: list[Any] = []

        def work(session: Any) -> None:
            before = session.execute(PAIRS).all()
            self.running.catch_up(session)
            deciding.settle(self.running, session, [row.id for row in before])
            found.extend([before, session.execute(PAIRS).all()])
            raise Undone

        with pytest.raises(Undone):
            self.store.write(work)
        assert found[0] == found[1]


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=int(os.environ.get("HISTORIES", "200")),
    stateful_step_count=10,
    deadline=None,
    derandomize="HISTORIES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
