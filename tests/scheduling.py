"""Which tests pytest-xdist gives to one process as a whole: those of a file that share what takes long to make.

They begin first. Marks of groups would do as well, but pytest-xdist 3.8 does not see them with pytest 9.2.
"""

TOGETHER = {
    "tests/test_site.py": "the site is built once, in the checkout's own folder",
    "tests/test_release.py": "the wheel is built once",
    "tests/test_flows.py": "each browser is started once",
    "tests/test_live.py": "its server is started once",
    "tests/test_live_page.py": "each browser and the server are started once",
    "tests/test_jupyter.py": "servers share their user's settings",
    "tests/test_large_pages.py": "a page of 32,768 positions is made once",
    "tests/test_sweep_faults.py": "the sweep that the others are compared with is made once",
}


def unit_of(test):
    """The name of what is given to one process: a file, or a test alone."""
    file = test.partition("::")[0]
    return file if file in TOGETHER else test


def scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Units(LoadScopeScheduling):
        """Units with many tests first, then the others as they were collected."""

        def _split_scope(self, nodeid):
            return unit_of(nodeid)

    return Units(config, log)
