#!/usr/bin/env bash
# Everything that continuous integration checks, and nothing else. It works on a fresh clone with cargo, rustfmt, clippy, a C
# compiler and Python 3.11 or later, and writes only below target/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() {
    printf '\n== %s\n' "$*"
}

fail() {
    printf 'tests/run.sh: %s\n' "$*" >&2
    exit 1
}

# The Python for the independent reader, with what it needs. A venv counts once it was made completely, from the present
# requirements.
make_reader_venv() {
    local venv=target/reader-venv requirements=tests/reader/requirements.txt python
    if cmp -s "$requirements" "$venv/made-from" && "$venv/bin/python" -c ''; then
        echo "$venv is there"
        return
    fi
    for python in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11 ''; do
        [ -n "$python" ] || fail "the independent reader needs Python 3.11 or later; PYTHON=... names one"
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi
    done
    rm -rf "$venv"
    "$python" -m venv "$venv" || fail "$python cannot make a virtual environment (on Debian: apt install python3-venv)"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
    cp "$requirements" "$venv/made-from"
    echo "made $venv with $("$venv/bin/python" --version)"
}

# The embeddable library brings no command line, no async runtime and no HTTP client along.
check_library_dependencies() {
    local tree found
    tree=$(cargo tree --locked --no-default-features -e normal --prefix none --format '{p}')
    found=$(awk '{print $1}' <<<"$tree" | sort -u | grep -xE 'clap|tokio|axum|hyper|reqwest' || true)
    [ -z "$found" ] || fail "without default features, pagekeep depends on" $found
    echo "none of clap, tokio, axum, hyper, reqwest among $(sort -u <<<"$tree" | wc -l) packages"
}

# A program has one copy of SQLite's bindings. So pools, async wrappers and migrations have to find one together with this library.
check_neighbours() {
    local dir=target/neighbours crates="r2d2_sqlite=0.35 deadpool-sqlite=0.14 tokio-rusqlite=0.8 rusqlite_migration=2.6" crate
    mkdir -p "$dir/src"
    touch "$dir/src/lib.rs"
    cat >"$dir/Cargo.toml" <<END
[package]
name = "neighbours"
version = "0.0.0"
edition = "2024"
[workspace]
[dependencies]
pagekeep = { path = "../..", default-features = false }
END
    for crate in $crates; do echo "${crate%=*} = \"${crate#*=}\"" >>"$dir/Cargo.toml"; done
    rm -f "$dir/Cargo.lock"
    cargo metadata --format-version 1 --manifest-path "$dir/Cargo.toml" >/dev/null || fail "no rusqlite fits pagekeep and $crates"
    echo "$crates: $(grep -A1 'name = "rusqlite"' "$dir/Cargo.lock" | grep version)"
}

# The versions that Cargo.toml asks for at least are enough: a program may have no newer ones.
check_oldest_dependencies() {
    local dir=target/oldest part
    mkdir -p "$dir"
    cp Cargo.toml "$dir/Cargo.toml"
    for part in src tests benches examples README.md; do ln -sfn "../../$part" "$dir/$part"; done
    # The option is one of nightly's; the compiler stays the pinned one.
    RUSTC_BOOTSTRAP=1 cargo generate-lockfile --quiet -Z direct-minimal-versions --manifest-path "$dir/Cargo.toml" ||
        fail "Cargo.toml asks for older versions than its dependencies do: raise those that cargo names"
    cargo check --quiet --locked --lib --bins --manifest-path "$dir/Cargo.toml" --target-dir target/oldest-target
    echo "the library and the command line build with the oldest direct dependencies"
}

# What the library promises its users is written down, so that every change of it is seen. rustdoc's JSON belongs to one version of
# the compiler: another one's list is not compared. PAGEKEEP_WRITE_API=1 writes the list anew.
check_public_api() {
    local list=docs/public-api.txt made=target/public-api.txt
    if [ "${PAGEKEEP_WRITE_API:-}" != 1 ] && [ "$(head -1 $list)" != "# $(rustc --version)" ]; then
        echo "not compared: $list was made with $(head -1 $list | cut -c3-), and this is $(rustc --version)"
        return
    fi
    RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=target/api-tool cargo run --quiet --locked --manifest-path tests/api/Cargo.toml -- Cargo.toml >$made
    if [ "${PAGEKEEP_WRITE_API:-}" = 1 ]; then cp $made $list; fi
    diff -u $list $made || fail "the public API changed: PAGEKEEP_WRITE_API=1 tests/run.sh writes $list anew, and CHANGELOG.md tells of it"
    echo "$(grep -cE '^(#\[non_exhaustive\] )?pub (struct|enum|trait|type|mod|use|fn pagekeep::[a-z_]+\()' $list) names, as $list has them"
}

step "Tools"
# rustup installs the pinned version; where it can't, the same version under another name will do.
if ! cargo --version >/dev/null 2>&1; then
    pinned=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
    export RUSTUP_TOOLCHAIN=stable
    [ "$(rustc --version | cut -d' ' -f2)" = "$pinned" ] || fail "Rust $pinned is missing: rustup toolchain install $pinned"
fi
cargo --version
cargo fmt --version 2>/dev/null || fail "rustfmt is missing: rustup component add rustfmt"
cargo clippy --version 2>/dev/null || fail "clippy is missing: rustup component add clippy"

step "Python for the independent reader"
make_reader_venv
export PAGEKEEP_REQUIRE_READER=1

step "Formatting"
cargo fmt --check

step "Spelling"
target/reader-venv/bin/codespell

step "Lints"
cargo clippy --locked --all-targets -- -D warnings

step "Lints of the library alone"
cargo clippy --locked --no-default-features --lib -- -D warnings

step "Dependencies of the library alone"
check_library_dependencies

step "Beside pools, async wrappers and migrations"
check_neighbours

step "The oldest dependencies"
check_oldest_dependencies

step "The public API"
check_public_api

# A test that hangs ends here, with the list of those that ended before it.
in_time() {
    local minutes=$1 ended=0
    shift
    timeout --foreground "${minutes}m" "$@" || ended=$?
    [ "$ended" != 124 ] || fail "not done within $minutes minutes: $*"
    return "$ended"
}

step "Tests"
in_time 50 cargo test --locked

step "Tests of the library alone"
in_time 20 cargo test --locked --no-default-features --lib

step "Documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

step "Everything passed, in $((SECONDS / 60)) minutes and $((SECONDS % 60)) seconds"
