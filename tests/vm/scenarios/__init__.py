"""The scenarios of `tests.vm.run`, one a module: its first line says what is seen, its `run` sees it or raises."""
