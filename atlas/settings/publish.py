"""Settings of publication by continuous integration: section [publish]."""

from __future__ import annotations

from pydantic import Field

from atlas.settings.section import Section


class PublishSettings(Section):
    """What `atlas ci` builds from and compares with; it enters no stage."""

    bundle: str = Field(
        default="",
        description="Bundle that the atlas is restored from: a folder or .zip (from this file's folder on), an https address, or hf:OWNER/NAME. If unset, every stage is built.",
    )
    last: str = Field(
        default="",
        description="Published site, atlas or bundle that the new one is compared with; if unset, site.base_url.",
    )
    page_kb: float = Field(
        default=0.0, ge=0, description="Most kilobytes (1,000 bytes) of a page; 0 for any."
    )
    site_mb: float = Field(
        default=0.0, ge=0, description="Most megabytes of the whole site; 0 for any."
    )
