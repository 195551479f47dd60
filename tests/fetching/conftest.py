"""The host that every test here asks."""

import pytest
from picture_host import make_certificate, serving


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def host_and_trust(certificate):
    with serving(*certificate) as found:
        yield found


@pytest.fixture
def host(host_and_trust):
    return host_and_trust[0]


@pytest.fixture
def trust(host_and_trust):
    return host_and_trust[1]
