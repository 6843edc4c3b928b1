# The same words that CI uses. `make test` needs: pip install -e ".[web,train,test]"
PYTHON ?= python

.PHONY: lint types test smoke bench pictures

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types:
	$(PYTHON) -m mypy

test:
	$(PYTHON) -m pytest

# The wheel alone, in a fresh environment, with the network cut, restores a photo.
smoke:
	$(PYTHON) tests/smoke.py

bench:
	$(PYTHON) -m training bench denoise

# The pictures of the README, made again from the shipped weights.
pictures:
	$(PYTHON) docs/pictures/make.py
	$(PYTHON) docs/pictures/page.py
