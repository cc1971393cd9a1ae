#!/usr/bin/env bash
# Builds what is released, below target/dist: for each target that is installed a stripped binary with its licences and manual pages, a
# list of all that it is made of (CycloneDX), for this machine a Debian package if cargo-deb is installed, and checksums.
# docs/releasing.md says when.
#
#   bash release.sh                                    # for this machine, and for musl if that target is installed
#   bash release.sh x86_64-unknown-linux-gnu           # for the targets that are named
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

fail() {
    printf 'release.sh: %s\n' "$*" >&2
    exit 1
}

[ -z "$(git status --porcelain)" ] || fail "there are changes that no commit has; commit or stash them first"
host=$(rustc -vV | sed -n 's/^host: //p')
version=$(cargo metadata --locked --no-deps --format-version 1 | python3 -c 'import json,sys; print(json.load(sys.stdin)["packages"][0]["version"])')
grep -q "^## $version, 20" CHANGELOG.md || echo "note: CHANGELOG.md gives $version no date yet, so this is a rehearsal" >&2
# Files have the time of the commit, so that the same commit makes the same archive.
when=@$(git log -1 --format=%ct)
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
    targets=("$host")
    installed=$(rustup target list --installed 2>/dev/null || true)
    for target in ${host%%-*}-unknown-linux-musl; do
        if grep -qx "$target" <<<"$installed"; then
            targets+=("$target")
        else
            echo "note: $target is not installed (rustup target add $target), so there is no static binary" >&2
        fi
    done
fi

# The Debian package, of a binary that is built, with the manual pages and completions that this binary writes.
make_deb() {
    local target=$1 made=target/$1/release/pagekeep
    if ! cargo deb --version >/dev/null 2>&1; then
        echo "note: cargo-deb is not installed (cargo install cargo-deb), so there is no Debian package" >&2
        return
    fi
    rm -rf target/man target/completions
    mkdir -p target/man target/completions
    "$made" man --dir target/man
    "$made" completions bash >target/completions/pagekeep.bash
    "$made" completions zsh >target/completions/_pagekeep
    "$made" completions fish >target/completions/pagekeep.fish
    cargo deb --locked --no-build --no-strip --target "$target" --output $dist
}

dist=target/dist
rm -rf $dist
mkdir -p $dist
for target in "${targets[@]}"; do
    name=pagekeep-$version-$target
    CARGO_PROFILE_RELEASE_STRIP=symbols cargo build --locked --release --target "$target"
    mkdir -p "$dist/$name/man"
    cp "target/$target/release/pagekeep" LICENSE-MIT LICENSE-APACHE README.md CHANGELOG.md "$dist/$name/"
    if [ "$target" = "$host" ]; then
        "$dist/$name/pagekeep" --version
        "$dist/$name/pagekeep" man --dir "$dist/$name/man"
        make_deb "$target"
    fi
    tar --sort=name --mtime="$when" --owner=0 --group=0 --numeric-owner -C $dist -cf - "$name" | gzip -n9 >"$dist/$name.tar.gz"
    rm -rf "${dist:?}/$name"
    cargo metadata --locked --format-version 1 --filter-platform "$target" | python3 tests/sbom.py "$version" "$target" >"$dist/$name.cdx.json"
done
(cd $dist && sha256sum pagekeep[-_]* >SHA256SUMS && cat SHA256SUMS)
