"""What a rebuild of the site writes, and what it takes from the published one."""

import shutil
from dataclasses import replace

import duckdb
import pytest
from planted import make_job
from site_fixture import inputs_of, names_of

from atlas.base.files import digest_file
from atlas.base.tables import TABLES
from atlas.settings.site import SiteSettings
from atlas.site import feature_pages, links, site
from atlas.site.output import RECORD, Output

LAYOUTS = {
    "pages": SiteSettings(),
    "groups": SiteSettings(layout="groups", pictures="sheets"),
}


def update(atlas, table, change):
    """Change rows of a catalog, and the table's Parquet copy with them."""
    (order,) = [known.order for known in TABLES if known.name == table]
    with duckdb.connect(str(atlas / "catalog" / "atlas.duckdb")) as db:
        db.execute(f"UPDATE {table} SET {change}")
        copy = atlas / "catalog" / "parquet" / f"{table}.parquet"
        db.execute(f"COPY (FROM {table} ORDER BY {order}) TO '{copy}'")


def drop(atlas, table, condition):
    """Delete rows of a catalog, and of the table's Parquet copy."""
    (order,) = [known.order for known in TABLES if known.name == table]
    copy = atlas / "catalog" / "parquet" / f"{table}.parquet"
    with duckdb.connect(str(atlas / "catalog" / "atlas.duckdb")) as db:
        db.execute(f"DELETE FROM {table} WHERE {condition}")
        db.execute(f"COPY (FROM {table} ORDER BY {order}) TO '{copy}'")


def name_feature(atlas, label):
    """Give the first feature that may be shown another name; return the feature."""
    with duckdb.connect(str(atlas / "catalog" / "atlas.duckdb"), read_only=True) as db:
        (feature,) = db.execute(
            """SELECT feature FROM names JOIN features USING (feature)
               WHERE NOT sensitive ORDER BY feature LIMIT 1"""
        ).fetchone()
    update(atlas, "labels", f"label = '{label}' WHERE feature = {feature} AND rank = 0")
    update(atlas, "names", f"name = '{label}', label = '{label}' WHERE feature = {feature}")
    return feature


def site_job(atlas, folder, layout):
    job = make_job("site", LAYOUTS[layout], inputs_of(atlas), folder / "site")
    labels = digest_file(atlas / "catalog" / "parquet" / "labels.parquet")
    return replace(job, digests={**job.digests, "catalog": labels})


def written(job):
    """Build a site and return which of its files are not those of the published one."""
    site.run(job)
    before, after = names_of(job.published_dir), names_of(job.out_dir)
    assert before.keys() <= after.keys()
    return {n for n, path in after.items() if n not in before or not path.samefile(before[n])}


@pytest.fixture(scope="module", params=LAYOUTS)
def published(request, planted_atlas, tmp_path_factory):
    """A folder with an atlas, one of its features named zebu, and its published site."""
    folder = tmp_path_factory.mktemp(request.param)
    for name in ("embed", "concepts", "catalog"):
        shutil.copytree(planted_atlas / name, folder / "atlas" / name)
    name_feature(folder / "atlas", "zebu")
    job = site_job(folder / "atlas", folder, request.param)
    site.run(job)
    job.published_dir.parent.mkdir()
    job.out_dir.rename(job.published_dir)
    return request.param, folder


def test_a_changed_label_rewrites_exactly_the_files_that_show_it(published, tmp_path):
    layout, made = published
    folder = shutil.copytree(made, tmp_path / "made")
    feature = name_feature(folder / "atlas", "zebra")
    job = site_job(folder / "atlas", folder, layout)
    found = written(job)
    before, after = names_of(job.published_dir), names_of(job.out_dir)
    showed = {name for name, path in before.items() if b"zebu" in path.read_bytes()}
    show = {name for name, path in after.items() if b"zebra" in path.read_bytes()}
    assert showed == show
    assert found == show | {links.parquet_file(table) for table in ("labels", "names")}
    assert found >= {
        links.feature_page(feature, layout).partition("#")[0],
        *(links.feature_json(feature), links.search_script("z"), links.words_page("z")),
        *(links.rows_script(0), links.BROWSE),
    }


@pytest.mark.parametrize("published", ["groups"], indirect=True)
def test_a_part_taken_over_is_what_would_be_made(published, tmp_path):
    layout, made = published
    folder = shutil.copytree(made, tmp_path / "made")
    update(folder / "atlas", "features", "sensitive = true WHERE feature = 1")
    for table in ("labels", "names"):
        drop(folder / "atlas", table, "feature = 1")
    update(folder / "atlas", "images", "caption = 'quagga' WHERE image = 7")
    update(folder / "atlas", "coactivations", "p_other_given_feature = 0.123 WHERE feature = 2")
    job = site_job(folder / "atlas", folder, layout)
    changed = replace(job, digests={**job.digests, "catalog": "changed"})
    site.run(changed)
    fresh = replace(changed, out_dir=tmp_path / "new" / "site", published_home=tmp_path / "new")
    fresh = replace(fresh, published_dir=tmp_path / "nothing")
    site.run(fresh)
    found, made_anew = names_of(changed.out_dir), names_of(fresh.out_dir)
    assert found.keys() == made_anew.keys()
    assert [n for n in found if found[n].read_bytes() != made_anew[n].read_bytes()] == []


def test_building_again_makes_nothing_and_mends_what_was_touched(published, tmp_path, monkeypatch):
    layout, made = published
    folder = shutil.copytree(made, tmp_path / "made")
    page = folder / "published" / "site" / "index.html"
    text = page.read_text()
    page.write_text(text.replace("live features", "dead features"))
    dropped = folder / "published" / "site" / links.feature_json(0)
    dropped.unlink()
    job = site_job(folder / "atlas", folder, layout)
    assert written(job) == {"index.html", links.feature_json(0)}
    assert (job.out_dir / "index.html").read_text() == text
    shutil.rmtree(job.published_dir)
    job.out_dir.rename(job.published_dir)

    def never(*_):
        raise AssertionError("a part was made")

    monkeypatch.setattr(feature_pages, "write_block", never)
    for maker in ("write_other_pages", "write_hashes", "write_icon_sheets"):
        monkeypatch.setattr(site, maker, never)
    assert written(job) == set()


def test_a_damaged_record_means_that_all_is_made(published, tmp_path):
    _, made = published
    record = tmp_path / RECORD
    job = make_job("site", SiteSettings(), {}, tmp_path / "site")
    assert not Output(job).same_program
    shutil.copy(made / RECORD, record)
    assert Output(job).same_program
    record.write_text(record.read_text().rstrip()[:-1])
    assert not Output(job).same_program
