import pytest

from tests.broker.catalog.build import Founded


@pytest.fixture
def cluster():
    return Founded()
