# Two commands: `make demo` shows it, `make test` proves it. Both install what they need; both may be run as root or not.
SHELL := /bin/bash
.PHONY: demo test unit lint clean
.NOTPARALLEL:

demo:
	@playbooks/bootstrap.sh --extras bench,report
	@playbooks/as-user.sh usernetes demo
	@playbooks/as-user.sh netbench quick
	@playbooks/where.sh

# lint, unit tests (no root), then real clusters on this machine (root makes the test users and test hosts)
test:
	@playbooks/bootstrap.sh --extras dev,bench --packages build,test --with metrics-server --with flannel --with kwok --with traefik
	@playbooks/venv.sh ruff check .
	@playbooks/venv.sh ruff format --check .
	@playbooks/venv.sh mypy
	@playbooks/venv.sh python tests/lanes.py $(PYTEST)

unit:
	@playbooks/bootstrap.sh --extras dev --no-root
	@playbooks/venv.sh pytest -n auto usernetes_deploy netbench tests/unit $(PYTEST)

lint:
	@playbooks/venv.sh ruff check .
	@playbooks/venv.sh ruff format --check .
	@playbooks/venv.sh mypy

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
