import pytest

from lab import submit


@pytest.fixture
def submission(lab):
    """submission("directives of the listener", *options of relayctl user add): (relayd, sink)."""

    def make(listen="tls none", *user_options, extra="", **options):
        sink = lab.sink()
        daemon = lab.relay_to(
            sink,
            listen=f"role submission; {listen}",
            extra=extra,
            **options,
        )
        submit.add_user(daemon, submit.USER, submit.PASSWORD, *user_options)
        return daemon, sink

    return make
