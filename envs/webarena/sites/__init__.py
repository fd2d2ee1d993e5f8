"""Six small sites, one per kind of WebArena's, over one sqlite database per episode."""

from envs.webarena.sites import admin, code, forum, maps, shop, wiki
from envs.webarena.sites.site import Site

SITES: dict[str, Site] = {module.SITE.kind: module.SITE for module in (shop, admin, forum, code, maps, wiki)}
