import pytest

from lab import submit


@pytest.fixture
def submission(lab):
    """submission("directives of the listener", *options of relayctl user add): (relayd, sink)."""

    def make(listen="tls none", *user_options, extra="", **options):
        sink = lab.sink()
        daemon = lab.relayd(
            listen=f"role submission; {listen}",
            extra=f"smarthost sink {{ host 127.0.0.1:{sink.port}; tls none }}\n{extra}",
            routes="route default via sink",
            **options,
        )
        submit.add_user(daemon, submit.USER, submit.PASSWORD, *user_options)
        return daemon, sink

    return make
