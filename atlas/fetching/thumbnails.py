"""Thumbnails of the images that a site shows, fetched from their urls: what `atlas thumbnails` does.

Not by img2dataset: it fetches whole lists of urls, reads no robots.txt, paces no requests by host and
checks no address that a name or a redirect leads to. (It does heed X-Robots-Tag, as is done here.)
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import pyarrow.parquet as pq

from atlas.base.errors import ConfigError, InputError, MissingError
from atlas.base.faults import explain_faults
from atlas.base.progress import Progress
from atlas.base.text import clean_text
from atlas.fetching.crawl import Fetched, crawl
from atlas.fetching.outcomes import Outcome
from atlas.fetching.record import Record, Thumbnail, Told
from atlas.fetching.request import Access
from atlas.inputs.beside import draw_thumbnail
from atlas.pipeline import status
from atlas.run.build import locked
from atlas.run.receipt import read_receipt
from atlas.settings.inputs import EmbedSettings
from atlas.settings.load import Config
from atlas.settings.paths import FETCHED, database_path
from atlas.site.pictured import urls_pictured

URLS_A_PART = 1024
SAVE_S = 60.0
"""Longest time without writing what was fetched."""
OFFLINE = 12
"""If so many urls fail before any host has answered, this machine has no network."""
SILENT = (Outcome.NO_ANSWER, Outcome.TIMED_OUT, Outcome.GONE, Outcome.LATER)
"""What becomes of urls without a network."""
EXAMPLE_LETTERS = 100


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the urls of images that have no thumbnail from the build."""

    n_pictured: int
    """Images that the site pictures and that the build has no thumbnail of."""
    n_without_url: int
    """Those of them without a url."""
    counts: Mapping[Outcome, int]
    """Urls by what became of them, in this and earlier calls; in the order of Outcome."""
    examples: Mapping[Outcome, str]
    """A url of each, fit for a terminal."""
    n_new: int
    """Thumbnails of this call."""

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return outcome, urls, share and example, as text."""
        total = sum(self.counts.values())
        return [
            (outcome.value, f"{n:,}", f"{n / total:.1%}", self.examples[outcome])
            for outcome, n in self.counts.items()
        ]


def fetch_thumbnails(
    config: Config, access: Access, progress: Progress, *, retry: bool = False
) -> Report:
    """Fetch the pictures that the site shows and that have no thumbnail; keep them small.

    What is done is kept whenever the call ends, and another call does the rest.

    Args:
        config: An atlas that is built up to its catalog.
        access: How the network is asked.
        progress: Shows what is going on.
        retry: Ask again for the urls that gave no picture in earlier calls.

    Raises:
        ConfigError: The atlas is not built, or its settings show no thumbnails.
        MissingError: No image that is shown has a url, or there is no network.
        BusyError: Another command writes to the atlas.
    """
    _require_use(config)
    with locked(config.out_dir), explain_faults("thumbnails", config.out_dir):
        record = Record(config.out_dir / FETCHED, _embed_digest(config))
        bare = _without_thumbnail(config)
        images = _images_by_url(bare)
        if not images:
            raise MissingError(_why_nothing(len(bare)))
        before = _done_before(record, images)
        todo = _still_to_ask(images, before, record, retry=retry)
        progress.say(
            f"thumbnails: {len(bare):,} images are shown without one; of {len(images):,} urls "
            f"{len(images) - len(todo):,} are done"
        )
        run = _Run(config.embed, record, todo, progress)
        run.fetch(access)
        return _report(bare, {**before, **run.told}.values(), run.n_kept)


def _require_use(config: Config) -> None:
    """Refuse to fetch what no page would show, or for images that a build would renumber."""
    if config.site.images in ("links", "none"):
        raise ConfigError(
            f"site.images is {config.site.images}, so no page would show what is fetched; "
            "set it to auto or thumbnails"
        )
    for name, reasons in ((one.stage, one.reasons) for one in status(config)):
        if name != "site" and reasons:
            raise ConfigError(
                f"{config.out_dir} is not built ({name}: {reasons[0]}); "
                "run atlas build with this configuration first"
            )


def _embed_digest(config: Config) -> str:
    receipt = read_receipt(config.out_dir / "embed")
    assert receipt is not None, config.out_dir
    return str(receipt["outputs"])


def _without_thumbnail(config: Config) -> dict[int, str]:
    """Return the images that pages picture and that the build has no thumbnail of, with their urls."""
    there: set[int] = set()
    for path in sorted((config.out_dir / "embed" / "parts").glob("thumbnails-*.parquet")):
        there.update(pq.read_table(path, columns=["image"])["image"].to_pylist())
    pictured = urls_pictured(database_path(config.out_dir))
    return {image: url for image, url in pictured.items() if image not in there}


def _images_by_url(bare: Mapping[int, str]) -> dict[str, list[int]]:
    found = defaultdict(list)
    for image, url in bare.items():
        if url:
            found[url].append(image)
    return dict(found)


def _why_nothing(n_bare: int) -> str:
    if not n_bare:
        return "every image that the site shows has a thumbnail; there is nothing to fetch"
    return (
        f"none of the {n_bare:,} images shown without a thumbnail has a url; "
        "name a table with urls in embed.images and build again"
    )


def _done_before(record: Record, images: Mapping[str, Sequence[int]]) -> dict[str, Told]:
    """Return what became of these urls in earlier calls, also in one that was killed while it wrote."""
    there = set(record.images().tolist())
    kept = {url: Told(url, Outcome.KEPT, "") for url in images if there.issuperset(images[url])}
    return {url: told for url, told in record.outcomes().items() if url in images} | kept


def _still_to_ask(
    images: Mapping[str, Sequence[int]], before: Mapping[str, Told], record: Record, *, retry: bool
) -> dict[str, list[int]]:
    """Return the urls to ask, with those of their images that still lack a thumbnail.

    Args:
        images: Url -> its images.
        before: What became of urls in earlier calls.
        record: Has the thumbnails of earlier calls.
        retry: Also those that failed.
    """
    there = set(record.images().tolist())
    failed = {url for url, told in before.items() if told.outcome != Outcome.KEPT}
    lacking = {url: [row for row in rows if row not in there] for url, rows in images.items()}
    return {url: rows for url, rows in lacking.items() if rows and (retry or url not in failed)}


class _Run:
    """One call: what comes is made small, and written now and then."""

    def __init__(
        self,
        settings: EmbedSettings,
        record: Record,
        images: Mapping[str, Sequence[int]],
        progress: Progress,
    ) -> None:
        self.told: dict[str, Told] = {}
        """What became of each url in this call."""
        self.n_kept = 0
        self._settings = settings
        self._record = record
        self._images = images
        self._n_silent = 0
        self._progress = progress
        self._thumbnails: list[Thumbnail] = []
        self._outcomes: list[Told] = []

    def fetch(self, access: Access) -> None:
        """Fetch the pictures; whatever ends it, what came before is written."""
        self._progress.start("thumbnails", total=len(self._images), unit="urls")
        saved = time.monotonic()
        try:
            with closing(crawl(self._images, access)) as answers:
                for fetched in answers:
                    self._take(fetched)
                    self._progress.advance(note=f"{self.n_kept:,} kept")
                    due = time.monotonic() - saved > SAVE_S
                    if due or len(self._outcomes) >= URLS_A_PART:
                        self._save()
                        saved = time.monotonic()
        finally:
            self._progress.stop()
            self._save()

    def _take(self, fetched: Fetched) -> None:
        """Note what became of a url, and make a thumbnail of what was fetched."""
        outcome, why = fetched.outcome, clean_text(fetched.why)
        if outcome == Outcome.KEPT:
            look = self._settings
            try:
                webp = draw_thumbnail(
                    fetched.data, look.thumbnail_px, look.thumbnail_quality, look.ground
                )
            except InputError as error:
                outcome, why = Outcome.NOT_PICTURE, clean_text(str(error))
            else:
                rows = self._images[fetched.url]
                self._thumbnails += [Thumbnail(image, fetched.url, webp) for image in rows]
                self.n_kept += len(rows)
        told = self.told[fetched.url] = Told(fetched.url, outcome, why)
        if outcome != Outcome.LATER:
            self._outcomes.append(told)
        self._n_silent += outcome in SILENT
        if not fetched.heard and self._n_silent >= OFFLINE:
            self._outcomes = []  # it says nothing about these urls
            raise MissingError(
                f"no host of the first {OFFLINE} urls answers; connect this machine to the network "
                "(proxies are not used) and run the same command"
            )

    def _save(self) -> None:
        if self._outcomes:
            self._record.write(self._thumbnails, self._outcomes)
            self._thumbnails, self._outcomes = [], []


def _report(bare: Mapping[int, str], told: Iterable[Told], n_new: int) -> Report:
    held = list(told)
    by_outcome = {
        outcome: [one.url for one in held if one.outcome == outcome] for outcome in Outcome
    }
    found = {outcome: urls for outcome, urls in by_outcome.items() if urls}
    return Report(
        n_pictured=len(bare),
        n_without_url=sum(not url for url in bare.values()),
        counts={outcome: len(urls) for outcome, urls in found.items()},
        examples={
            outcome: " ".join(clean_text(min(urls)).split())[:EXAMPLE_LETTERS]
            for outcome, urls in found.items()
        },
        n_new=n_new,
    )
