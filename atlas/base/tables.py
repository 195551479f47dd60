"""Schema of the catalog: every table and column, with its type and meaning.

The DuckDB file, the Parquet export, the site's data page and build/README.md all follow this list.
A changed name, type or meaning changes the catalog or the site: raise the version of that stage.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple


class Column(NamedTuple):
    """One column of a catalog table."""

    name: str
    type: str
    """DuckDB type."""
    meaning: str
    """One line with unit and range; shown on the site's data page and in build/README.md."""


class Table(NamedTuple):
    """One catalog table."""

    name: str
    meaning: str
    order: str
    """The columns that sort it, in SQL; unique together."""
    columns: tuple[Column, ...]


SENSITIVE_SHARE = 0.1
"""A feature is sensitive when this share of its top images is."""
FEATURE = Column("feature", "INTEGER", "the SAE's feature, numbered from 0")
IMAGE = Column("image", "BIGINT", "row of the image in the embedding shards taken together")
SURE = """CASE WHEN perhaps THEN 0.01 WHEN source = 'captions' THEN score
          ELSE greatest(coalesce(2 * auroc - 1, 0.5), 0.01) END"""
"""SQL on the table labels: how far a label can be trusted, 0 to 1. Ranks labels of mixed sources."""
LOWEST_OCTAVE, OCTAVES, BINS_AN_OCTAVE = -16, 32, 4
"""Bins of the histograms: four equal ones an octave from 2^-16 on, plus one below and one above."""
RANK = Column("rank", "INTEGER", "place, from 0")
ACTIVATION = Column("activation", "FLOAT", "activation of the feature on the image, unitless")
LEVEL = Column("level", "INTEGER", "0 the coarsest, 2 the finest")
CLUSTER = Column("cluster", "INTEGER", "number of the cluster in its level, by size")
CONCEPT = Column("concept", "INTEGER", "number of the group in its image, by mass")
TAU = Column("tau", "VARCHAR", "coarse or fine: which threshold the image was grouped by")
RECURRING = Column("recurring", "INTEGER", "number of the recurring concept, that of most images 0")

# A row a column, aligned by hand:
# fmt: off
TABLES = (
    Table("features", "one row for every feature, dead ones included", order="feature", columns=(
        FEATURE,
        Column("alive",           "BOOLEAN", "fires on at least one of the scanned images"),
        Column("count",           "BIGINT",  "images on which it fires (activation > 0)"),
        Column("density",         "DOUBLE",  "count over all scanned images, 0 to 1"),
        Column("sum",             "DOUBLE",  "sum of its activations"),
        Column("sum_squares",     "DOUBLE",  "sum of its squared activations"),
        Column("mean",            "DOUBLE",  "mean activation over the images on which it fires"),
        Column("median",          "FLOAT",   "median activation over the images on which it fires, of "
                                             "activations rounded to float16"),
        Column("max",             "FLOAT",   "largest activation"),
        Column("mass_share",      "DOUBLE",  "its sum over the sum of all features, 0 to 1"),
        Column("decoder_norm",    "FLOAT",   "length of its decoder direction"),
        Column("sum_weighted",    "DOUBLE",  "sum times decoder_norm; free of the SAE's scaling"),
        Column("max_weighted",    "FLOAT",   "max times decoder_norm; free of the SAE's scaling"),
        Column("selectivity",     "DOUBLE",  "sum^2 / (count * sum_squares), 0 to 1: 1 if equally strong "
                                             "wherever it fires, near 0 if a few images hold it all"),
        Column("monosemanticity", "DOUBLE",  "how alike its images are in a second encoder, weighted by "
                                             "activation, -1 to 1; null where none was given or it fires "
                                             "on fewer than two images"),
        Column("seeds_seen",      "INTEGER", "SAEs of other seeds that have its direction, 0 to seeds; null "
                                             "where dead or none was given"),
        Column("seeds",           "INTEGER", "SAEs of other seeds that were looked through; null as above"),
        Column("map_x",           "FLOAT",   "place on the map, 0 to 1; null where dead"),
        Column("map_y",           "FLOAT",   "place on the map, 0 to 1; null where dead"),
        Column("sensitive",       "BOOLEAN", "a tenth or more of its top images are marked as unsafe, or it "
                                             "is taken down; it has no labels"),
    )),
    Table("images", "one row for every scanned image", order="image", columns=(
        IMAGE,
        Column("name",          "VARCHAR",   "file name or key in its source"),
        Column("caption",       "VARCHAR",   "text that came with it; from the open web, not to be "
                                             "trusted"),
        Column("url",           "VARCHAR",   "where it was found; null if unknown"),
        Column("tags",          "VARCHAR[]", "keywords that came with it"),
        Column("terms",         "VARCHAR[]", "names of what is in it; its caption where nothing better is "
                                             "known"),
        Column("split",         "VARCHAR",   "train or heldout for models trained here; empty if unknown"),
        Column("duplicate_of",  "BIGINT",    "the first image that it repeats, by file or embedding; null "
                                             "if it repeats none"),
        Column("l0",            "INTEGER",   "features that fire on it"),
        Column("mass",          "DOUBLE",    "sum of its activations"),
        Column("squared_error", "DOUBLE",    "squared distance of embedding and reconstruction"),
        Column("norm",          "FLOAT",     "length of its raw embedding"),
        Column("sensitive",     "BOOLEAN",   "withheld from pages and search; its name, caption, url, tags "
                                             "and terms are left out"),
    )),
    Table("top_images",
          "the images that activate a feature most; equal activations by image number",
          order="feature, rank", columns=(
        FEATURE, RANK, IMAGE, ACTIVATION,
    )),
    Table("quantile_images",
          "seeded picks from each tenth of a feature's firing images, by activation",
          order="feature, quantile, rank", columns=(
        FEATURE,
        Column("quantile",   "INTEGER", "0 the weakest tenth, 9 the strongest"),
        RANK, IMAGE,
        Column("activation", "FLOAT",   "activation of the feature on the image, rounded to float16"),
    )),
    Table("near_misses",
          "images most like a top image on which the feature stays silent",
          order="feature, rank", columns=(
        FEATURE, RANK, IMAGE,
        Column("top_image",      "BIGINT",  "the top image that it resembles"),
        Column("similarity",     "FLOAT",   "cosine of the two centered embeddings, -1 to 1"),
        Column("pre_activation", "FLOAT",   "what the nonlinearity silenced; not above 0 for ReLU"),
        Column("name_score",     "FLOAT",   "centered cosine of image and first word; null without a name"),
        Column("verdict",        "VARCHAR", "negative: the name is false there; missed: it holds; "
                                            "absorption suspect: it holds and a feature of like direction "
                                            "fires; null without a name"),
        Column("sibling",        "INTEGER", "the feature suspected of absorption; else null"),
    )),
    Table("activation_histogram",
          "how often a feature fires how strongly; bins of a quarter octave, empty ones left out",
          order="feature, bin", columns=(
        FEATURE,
        Column("bin",   "INTEGER", "number of the bin"),
        Column("low",   "DOUBLE",  "least activation in the bin"),
        Column("high",  "DOUBLE",  "activation at which the next bin begins"),
        Column("count", "BIGINT",  "images"),
    )),
    Table("feature_neighbors",
          "live features whose decoder directions are most alike",
          order="feature, rank", columns=(
        FEATURE, RANK,
        Column("neighbor", "INTEGER", "the other feature"),
        Column("cosine",   "FLOAT",   "cosine of the decoder directions, -1 to 1"),
    )),
    Table("coactivations",
          "features that fire on the same images, most shared images first",
          order="feature, rank", columns=(
        FEATURE, RANK,
        Column("other",                 "INTEGER", "the other feature"),
        Column("count",                 "BIGINT",  "images on which both fire; estimated where the "
                                                   "feature fires on more than 20,000"),
        Column("p_other_given_feature", "DOUBLE",  "share of the feature's images on which the other "
                                                   "fires"),
        Column("standard_error",        "DOUBLE",  "of that share: 0 where all the feature's images were "
                                                   "looked at, as they are up to 20,000; beyond, a sample "
                                                   "of 20,000 is"),
        Column("p_feature_given_other", "DOUBLE",  "share of the other's images on which the feature "
                                                   "fires"),
        Column("lift",                  "DOUBLE",  "count over the count expected if the two were "
                                                   "independent"),
    )),
    Table("relatives",
          "duplicates, antipodes and parents of a feature; who has it as a parent is its child",
          order="feature, kind, rank", columns=(
        FEATURE,
        Column("kind",            "VARCHAR", "duplicate: points and fires alike; antipode: points away; "
                                             "parent: fires wherever the feature is strong, and the "
                                             "feature seldom where the parent is"),
        RANK,
        Column("other",           "INTEGER", "the other feature"),
        Column("cosine",          "FLOAT",   "cosine of the decoder directions, -1 to 1"),
        Column("n",               "BIGINT",  "the feature's firings that were looked at: all, for a "
                                             "parent the strongest tenth (families.strong_share)"),
        Column("share",           "DOUBLE",  "share of these on which the other fires"),
        Column("share_low",       "DOUBLE",  "lower end of its 95 % Wilson interval"),
        Column("share_back",      "DOUBLE",  "the same with the two exchanged: how often the feature"),
        Column("share_back_high", "DOUBLE",  "upper end of its 95 % Wilson interval"),
    )),
    Table("clusters",
          "groups of live features by decoder direction, at three levels, each within its parent",
          order="level, cluster", columns=(
        LEVEL, CLUSTER,
        Column("parent",      "INTEGER", "cluster of the level above; null at level 0"),
        Column("features",    "BIGINT",  "members"),
        Column("label",       "VARCHAR", "words that many members' strongest images have in caption or "
                                         "tags (without these: their labels) and few others'; may "
                                         "be empty"),
        Column("label_share", "DOUBLE",  "share of the members with one of these words"),
        Column("null_share",  "DOUBLE",  "share of all features with one of them"),
        Column("map_x",       "FLOAT",   "median place of its members on the map, 0 to 1"),
        Column("map_y",       "FLOAT",   "median place of its members on the map, 0 to 1"),
    )),
    Table("cluster_features",
          "the members of each cluster, those nearest to its middle first",
          order="level, cluster, rank", columns=(
        LEVEL, CLUSTER, RANK, FEATURE,
        Column("cosine", "FLOAT", "cosine of its direction and the members' mean, -1 to 1"),
    )),
    Table("labels", "words for a feature, and where they come from", order="feature, rank", columns=(
        FEATURE, RANK,
        Column("label",      "VARCHAR", "the word or words"),
        Column("source",     "VARCHAR", "images: a word of the vocabulary, chosen through its images; "
                                        "captions: words of captions and tags (else of file names) that "
                                        "its strong images share; imported: a name from outside"),
        Column("author",     "VARCHAR", "who or what gave an imported name; empty if unknown"),
        Column("perhaps",    "BOOLEAN", "a guess: too few of the feature's strong images bear it out"),
        Column("score",      "DOUBLE",  "images: Soft-WPMI in nats; captions: share of the images that "
                                        "chose it whose text has it; imported: as its author scored it"),
        Column("null_score", "DOUBLE",  "images: what 95 % of random sets of as many images stay below; "
                                        "captions: share of all images of that half with it"),
        Column("cosine",     "DOUBLE",  "centered cosine of the word and the feature's mean image, -1 to "
                                        "1"),
        Column("auroc",      "DOUBLE",  "how well the words up to this rank together tell firing images "
                                        "from silent ones among images that did not choose them, 0.5 is "
                                        "chance; null where not graded; imported: this name alone"),
        Column("auroc_low",  "DOUBLE",  "lower end of its 95 % interval (Hanley and McNeil)"),
        Column("auroc_high", "DOUBLE",  "upper end of its 95 % interval"),
    )),
    Table("names", "the best name of each feature that has one, and what bears it out", order="feature",
          columns=(
        FEATURE,
        Column("name",      "VARCHAR", "what every page calls the feature: its first label, where others "
                                       "have the same with a second word (flag · green)"),
        Column("label",     "VARCHAR", "that label alone"),
        Column("source",    "VARCHAR", "as in labels"),
        Column("author",    "VARCHAR", "as in labels"),
        Column("held",      "INTEGER", "of its strongest images, those whose caption or tags hold the "
                                       "label; this and all below null where images have no text"),
        Column("strong",    "INTEGER", "strongest images that were counted: up to 20, none withheld or "
                                       "repeated"),
        Column("chosen",    "DOUBLE",  "share of the 20 strongest of the half that chose names which hold it"),
        Column("judged",    "DOUBLE",  "the same of the half that had no say"),
        Column("tenth",     "DOUBLE",  "share of that half's strongest tenth"),
        Column("near",      "DOUBLE",  "share of the near misses that hold it"),
        Column("precision", "DOUBLE",  "share of all that half's images on which the feature fires"),
        Column("recall",    "DOUBLE",  "share of that half's images with the label on which it fires"),
        Column("f1",        "DOUBLE",  "harmonic mean of these two"),
        Column("usual",     "DOUBLE",  "share of all images that hold it"),
    )),
    Table("name_reliability",
          "how well names hold for each tenth of their features' firings",
          order="quantile", columns=(
        Column("quantile",   "INTEGER", "0 the weakest tenth, 9 the strongest"),
        Column("features",   "BIGINT",  "features with a name and firings in this tenth"),
        Column("held",       "DOUBLE",  "share of the tenth's images whose caption or tags hold the name, "
                                        "mean over features, images that did not choose it; null where "
                                        "images have no text"),
        Column("held_shuffled", "DOUBLE", "the same with other features' names"),
        Column("auroc",      "DOUBLE",  "median AUROC of the three words together; this and all below null "
                                        "where held is given"),
        Column("auroc_low",  "DOUBLE",  "lower end of the median's 95 % interval"),
        Column("auroc_high", "DOUBLE",  "upper end of the median's 95 % interval"),
        Column("first_word", "DOUBLE",  "median AUROC of the first word alone"),
        Column("shuffled",   "DOUBLE",  "median AUROC of other features' names"),
    )),
    Table("icons", "the picture that stands for a live feature", order="feature", columns=(
        FEATURE,
        Column("image",       "BIGINT",  "the image that stands in; null where an icon was rendered"),
        Column("source",      "VARCHAR", "rendered: drawn by a decoder; top image: a picture on which it "
                                         "fires, nothing rendered: the strongest one, or the strongest "
                                         "that shows the first label alone if that has 0.3 of its "
                                         "activation"),
        Column("strength",    "FLOAT",   "activation that the feature was set to; from here on null where "
                                         "nothing was rendered"),
        Column("moved",       "FLOAT",   "length of what that added to the template's embedding"),
        Column("on_template", "FLOAT",   "activation on the drawn template, no feature set"),
        Column("on_intended", "FLOAT",   "activation on the intended embedding, before drawing"),
        Column("on_icon",     "FLOAT",   "activation on the icon, encoded again"),
        Column("percentile",  "FLOAT",   "share of the feature's own firings that on_icon exceeds, 0 to 1"),
        Column("icon_rank",   "INTEGER", "place of the feature in its icon by activation over its own "
                                         "99th percentile, from 1; ties count against it"),
        Column("p",           "DOUBLE",  "share of matched other icons that activate it as strongly, "
                                         "itself counted"),
        Column("passes",      "BOOLEAN", "p survives Benjamini-Hochberg at 5 % over all icons"),
        Column("seeds",       "INTEGER", "in how many seeds it was rendered; figures are the first's"),
        Column("verdict",     "VARCHAR", "round trip: shown, partly or not shown; the least of all seeds"),
    )),
    Table("icon_replicates",
          "the icons of a sample of features, rendered with other seeds",
          order="feature, seed", columns=(
        FEATURE,
        Column("seed",      "INTEGER", "seed of the noise"),
        Column("on_icon",   "FLOAT",   "activation on this icon, encoded again"),
        Column("icon_rank", "INTEGER", "as in icons"),
        Column("p",         "DOUBLE",  "as in icons"),
        Column("verdict",   "VARCHAR", "of this seed alone"),
    )),
    Table("icon_side_effects",
          "other features that changed most between the drawn template and an icon",
          order="feature, rank", columns=(
        FEATURE, RANK,
        Column("other",       "INTEGER", "the feature that changed"),
        Column("on_icon",     "FLOAT",   "its activation on the icon"),
        Column("on_template", "FLOAT",   "its activation on the drawn template"),
    )),
    Table("strips", "icons of a sample of features at five strengths", order="feature, step", columns=(
        FEATURE,
        Column("step",     "INTEGER", "0 to 4, from weak to strong"),
        Column("strength", "FLOAT",   "activation that the feature was set to"),
        Column("on_icon",  "FLOAT",   "activation on the picture, encoded again"),
    )),
    Table("where_maps",
          "which part of a top image drives a feature, by covering parts of its thumbnail; of a sample of "
          "features",
          order="feature, rank", columns=(
        FEATURE, RANK, IMAGE, ACTIVATION,
        Column("on_thumbnail",   "FLOAT",   "activation on the thumbnail, which is what is covered"),
        Column("lost",           "FLOAT[]", "of 8 x 8 cells, row by row from the top left, the share of "
                                            "on_thumbnail that is lost where a cell is covered in the "
                                            "picture's mean color, mean over the four patches of 2 x 2 "
                                            "cells that cover it (fewer at the edges); below 0 where it "
                                            "grows"),
        Column("lost_gray",      "FLOAT",   "share lost where the patch that takes most away is covered "
                                            "in plain gray"),
        Column("other",          "INTEGER", "another feature that fires on the same picture, drawn by "
                                            "lot; null where none does"),
        Column("lost_gray_null", "FLOAT",   "share lost where the patch that takes most away from that "
                                            "other feature is covered in plain gray"),
    )),
    Table("decompositions",
          "the features of the images that have a page, strongest first",
          order="image, rank", columns=(
        IMAGE, RANK, FEATURE, ACTIVATION,
    )),
    Table("groupings",
          "every image's features in groups, heaviest first, at two thresholds",
          order="image, tau", columns=(
        IMAGE, TAU,
        Column("k",         "INTEGER",   "groups; 0 where the image's mass is below tau"),
        Column("lowest",    "INTEGER",   "fewest groups that one restart alone would have kept"),
        Column("highest",   "INTEGER",   "most groups that one restart alone would have kept"),
        Column("agreement", "FLOAT",     "mean adjusted Rand index of the kept run and the other restarts "
                                         "with k groups"),
        Column("masses",    "FLOAT[]",   "sum of the activations of each group"),
        Column("recurring", "INTEGER[]", "recurring concept that each group is near, -1 where none; null "
                                         "for coarse"),
    )),
    Table("examples", "images whose concepts are kept whole", order="image", columns=(
        IMAGE,
        Column("rank",                   "INTEGER", "place in the order of choice, from 0"),
        Column("by_hand",                "BOOLEAN", "named in the configuration, not chosen by coverage"),
        Column("drawn",                  "BOOLEAN", "has icons of its coarse concepts, and knobs"),
        Column("noise_agreement_coarse", "DOUBLE",  "mean adjusted Rand index with groupings of "
                                                    "activations that were disturbed by a tenth"),
        Column("noise_agreement_fine",   "DOUBLE",  "the same of the fine grouping"),
    )),
    Table("concepts", "groups of an example image's features", order="image, tau, concept", columns=(
        IMAGE, TAU, CONCEPT,
        Column("mass",         "DOUBLE",  "sum of its features' activations"),
        Column("mass_share",   "DOUBLE",  "mass over the image's mass, 0 to 1"),
        Column("stability",    "FLOAT",   "mean Jaccard index, 0 to 1, with the most similar concept once "
                                          "activations are disturbed by a tenth"),
        Column("recurring",    "INTEGER", "recurring concept that it is near; null where none"),
        Column("mass_on_icon", "DOUBLE",  "sum of their activations on the concept's icon, encoded again; "
                                          "null where none is drawn"),
    )),
    Table("concept_features",
          "which features a concept holds",
          order="image, tau, concept, feature", columns=(
        IMAGE, TAU, CONCEPT, FEATURE, ACTIVATION,
    )),
    Table("concept_neighbors",
          "fine concepts of other images, of a lot, that point most like an example's concept",
          order="image, tau, concept, rank", columns=(
        IMAGE, TAU, CONCEPT, RANK,
        Column("other_image",   "BIGINT",  "the other image"),
        Column("other_concept", "INTEGER", "number of the concept in that image"),
        Column("cosine",        "FLOAT",   "cosine of the two centers, -1 to 1"),
    )),
    Table("recurring_concepts",
          "concepts of different images that point the same way, as one",
          order="recurring", columns=(
        RECURRING,
        Column("n_images",   "BIGINT", "images of which a fine concept is near it"),
        Column("mass",       "DOUBLE", "sum of the masses of those concepts"),
        Column("mass_share", "DOUBLE", "mass over the mass of all images, 0 to 1"),
    )),
    Table("recurring_features",
          "the features that hold most of a recurring concept's mass",
          order="recurring, rank", columns=(
        RECURRING, RANK, FEATURE,
        Column("mass_share", "DOUBLE", "share of the concept's mass, 0 to 1"),
    )),
    Table("recurring_images",
          "the images in which a recurring concept weighs most",
          order="recurring, rank", columns=(
        RECURRING, RANK, IMAGE, CONCEPT,
        Column("mass",   "DOUBLE", "mass of the concept in the image"),
        Column("cosine", "FLOAT",  "cosine of its center to the recurring one's, -1 to 1"),
    )),
    Table("recurring_neighbors",
          "recurring concepts that point most alike",
          order="recurring, rank", columns=(
        RECURRING, RANK,
        Column("other",  "INTEGER", "the other recurring concept"),
        Column("cosine", "FLOAT",   "cosine of the two, -1 to 1"),
    )),
    Table("knobs",
          "example images drawn again with one coarse concept turned down or up",
          order="image, concept, gain", columns=(
        IMAGE, CONCEPT,
        Column("gain", "FLOAT",  "what its activations are multiplied by; 1 changes nothing"),
        Column("mass", "DOUBLE", "the concept's mass on the drawn picture, encoded again"),
    )),
    Table("transfers",
          "example images drawn again with a coarse concept of another one added",
          order="image, source", columns=(
        IMAGE,
        Column("source",      "BIGINT",  "the image that the concept is from"),
        Column("concept",     "INTEGER", "number of the concept in that image"),
        Column("mass_before", "DOUBLE",  "the concept's mass on the image drawn as it is"),
        Column("mass_after",  "DOUBLE",  "its mass on the picture with the concept added"),
    )),
    Table("metrics",
          "figures of the whole, each beside what chance or a baseline gives",
          order="name", columns=(
        Column("name",       "VARCHAR", "what was measured"),
        Column("value",      "DOUBLE",  "the figure"),
        Column("unit",       "VARCHAR", "its unit; share means 0 to 1"),
        Column("n",          "BIGINT",  "how many things were measured"),
        Column("null_value", "DOUBLE",  "the same figure for the baseline; null where none applies"),
        Column("null_name",  "VARCHAR", "what the baseline is"),
        Column("command",    "VARCHAR", "command that prints the figure again"),
        Column("note",       "VARCHAR", "what the figure does not say"),
    )),
    Table("provenance", "what the atlas was made from", order="key", columns=(
        Column("key",   "VARCHAR", "name of the fact"),
        Column("value", "VARCHAR", "the fact"),
    )),
)
# fmt: on

TABLE = {table.name: table for table in TABLES}


def create_sql(table: Table) -> str:
    """Return the statement that creates an empty table."""
    columns = ", ".join(f'"{column.name}" {column.type}' for column in table.columns)
    return f"CREATE TABLE {table.name} ({columns})"


TABLES_VERSION = 2
"""Raise by one when a table or column is added, renamed or removed. Readers accept older ones."""


def tables_digest() -> str:
    """Return a digest of all names and types: a catalog of another digest needs another version of atlas."""
    statements = "\n".join(create_sql(table) for table in TABLES)
    return hashlib.sha256(statements.encode()).hexdigest()[:12]


def markdown() -> str:
    """Return the section of build/README.md that documents every table and column."""
    lines = []
    for table in TABLES:
        lines += [f"### `{table.name}`", "", f"{table.meaning[0].upper()}{table.meaning[1:]}.", ""]
        lines += ["| column | type | meaning |", "|---|---|---|"]
        lines += [f"| `{c.name}` | {c.type} | {c.meaning} |" for c in table.columns]
        lines += ["", f"Sorted by {table.order}.", ""]
    return "\n".join(lines)
