"""Celery: workers on some nodes, the caller on another."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import pytest
from celery import chord, group

from tests.clients.conftest import Urls
from tests.clients.foreign import PROGRAMS, Telling
from tests.cluster.harness import wait_until

RESULT_SECONDS = 20.0
