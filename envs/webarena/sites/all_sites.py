"""The six sites by WebArena's names, one per kind of WebArena's sites."""

from __future__ import annotations

from envs.webarena.sites import code_hosting, forum, maps, shop, shop_admin, wiki
from envs.webarena.sites.site import Site

SITES: dict[str, Site] = {module.SITE.name: module.SITE for module in (shop, shop_admin, forum, code_hosting, maps, wiki)}
