"""A running server follows what changes beside it: the dataset's files, and what another server stored."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from videoalign.errors import ConfigError, VideoAlignError
from videoalign.video.addresses import is_address
from videoalign.web.annotate.programme import identity
from videoalign.web.annotate.programme.media_index import Library, Stamp, file_stamp, stamp
from videoalign.web.annotate.programme.pairs import find_pairs, store_pairs, stored_pairs
from videoalign.web.annotate.programme.programme import SERVER_SETTINGS, OpenProgramme, stored_settings
from videoalign.web.annotate.programme.wording import read_wording, settle_wording
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.storage.tables import Programme

Tables = Stamp
"""Of the tables of pairs and gold."""

log = logging.getLogger(__name__)


class Follower:
    """Looks when it is asked to. What cannot be followed is logged once; the server goes on with what it knows."""

    def __init__(self, programme: OpenProgramme) -> None:
        self.programme = programme
        self._tried: Any = None
        self._seen: Tables = ()
        self._followed: Tables = ()

    def look(self) -> None:
        """Reads anew the dataset and the tables of pairs and gold where their files changed, and takes over another
        server's guideline and settings. A table that is being written is waited for: until it looks the same twice."""
        programme = self.programme
        with programme.database.read() as session:
            stored = session.execute(select(Programme.guideline, Programme.settings)).one()
        found = _tables(programme.settings)
        tables = found if found == self._seen else self._followed
        self._seen = found
        seen = (stamp(programme.library.dataset.path), stored.guideline, stored.settings, tables)
        now = (programme.library.stamp, programme.wording.version, stored_settings(programme.settings), self._followed)
        if seen in (self._tried, now):
            return
        try:
            self._follow(seen[0] != programme.library.stamp)
            self._followed = tables
        except VideoAlignError as error:
            self._tried = seen
            log.error("the changed dataset or settings cannot be used, and what was there before stays: %s", error)

    def _follow(self, is_new: bool) -> None:
        programme = self.programme
        library = Library(programme.library.dataset.path) if is_new else programme.library

        def prepare(session: Session) -> OpenProgramme:
            row = session.scalars(select(Programme)).one()
            identity.require_same(session, row, library)
            if library.dataset.info.dimensions != programme.library.dataset.info.dimensions:
                _follow_wording(programme, session, library)
            wording = read_wording(session, library.dataset.dimensions)
            machine = programme.settings.model_dump(mode="json", include=SERVER_SETTINGS)
            settings = AnnotateSettings.build_from(row.settings | machine)
            now = replace(programme, library=library.asking(wording.dimensions), settings=settings, wording=wording)
            store_pairs(now, session, *find_pairs(now.library, settings, stored_pairs(session)))
            return now

        def take_over(_: Session) -> None:
            programme.library, programme.settings, programme.wording = now.library, now.settings, now.wording
            programme.strangers.clear()

        now = programme.database.write(prepare)
        programme.database.write(take_over)


def _tables(settings: AnnotateSettings) -> Tables:
    """Changes whenever somebody writes a table of pairs or gold on this machine."""
    named = [place for place in (settings.pairs, settings.gold) if place not in (None, "all", "across")]
    return tuple(file_stamp(Path(place)) for place in named if place is not None and not is_address(place))


def _follow_wording(programme: OpenProgramme, session: Session, library: Library) -> None:
    try:
        settle_wording(session, library.dataset.info.dimensions, {}, programme.now())
    except ConfigError as error:
        log.error("raters are asked what they were asked before: %s", error)
