# Sourced by ./check, ./try and bench/run's caller: Debian packages that are missing.
#
# need_packages NAME...   installs those not yet there, and says which
# Programs that start a service when installed (a DNS server, Postfix) are not
# installed at all: tests/unpack puts them below build-peers/ instead.

build_packages=(
    gcc libc6-dev meson ninja-build pkg-config
    libuv1-dev libisal-dev libssl-dev libc-ares-dev liblmdb-dev libidn2-dev uthash-dev
    libmicrohttpd-dev libjansson-dev libcurl4-openssl-dev libseccomp-dev libsystemd-dev
    libgsasl-dev libcrypt-dev libopendkim-dev
    libcmocka-dev
)

# What ./check needs besides: clients, oracles and the tools of the tests.
check_packages=(
    python3 python3-pytest python3-pytest-xdist python3-dnspython python3-dkim python3-cryptography mandoc
    swaks libnet-ssleay-perl libio-socket-ssl-perl libauthen-sasl-perl libdigest-hmac-perl
    curl msmtp openssl iproute2
)

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# Prints those of its arguments that are not installed.
missing_packages() {
    local name
    for name in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] ||
            echo "$name"
    done
}

# Package lists are absent on a fresh container image.
refresh_lists() {
    if [ -z "$(find /var/lib/apt/lists -name '*_Packages*' -print -quit 2>/dev/null)" ]; then
        echo "  fetching the package lists"
        as_root apt-get -qq update
    fi
}

need_packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
        echo "  missing packages: ${missing[*]}" >&2
        echo "  install them, or run this as root or where sudo works" >&2
        return 1
    fi
    echo "  installing: ${missing[*]}"
    refresh_lists || return 1
    local log
    log=$(mktemp)
    if as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -y -qq install --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
        rm -f "$log"
        return 0
    fi
    # Lists that are too old name files the mirror no longer has.
    if as_root apt-get -qq update &&
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get -y -qq install --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
        rm -f "$log"
        return 0
    fi
    cat "$log" >&2
    rm -f "$log"
    return 1
}
