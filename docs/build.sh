#!/usr/bin/env bash
# Builds the documentation as a site, with mdBook and mdbook-mermaid, which must be in PATH.
#
# usage: docs/build.sh OUT     the site: OUT/site/index.html
#
# mdBook takes pages from one directory only, and README.md and the chart have pages too. So the pages
# are copied, each to the place that it has in the repository, where its links lead to the others.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1
pages=$out/book/src

rm -rf "$out"
mkdir -p "$pages/charts"
cp -R README.md CONTRIBUTING.md CHANGELOG.md LICENSE docs "$pages"
cp -R charts/calf "$pages/charts"
mv "$pages/docs/book.toml" "$out/book"
rm "$pages/docs/SUMMARY.md" "$pages/docs/build.sh"

# The summary names pages as seen from docs/. The decision records, which docs/adr/README.md lists
# by subject, follow there by number.
sed -E 's|\]\(|](docs/|; s|\(docs/\.\./|(|' docs/SUMMARY.md | while IFS= read -r line; do
    printf '%s\n' "$line"
    if [[ $line == *'(docs/adr/README.md)' ]]; then
        for record in docs/adr/[0-9]*.md; do
            printf '  - [%s](%s)\n' "$(sed -n '1s/^# //p' "$record")" "$record"
        done
    fi
done >"$pages/SUMMARY.md"

RUST_LOG=warn mdbook-mermaid install "$out/book"
mdbook build --dest-dir "$(realpath "$out")/site" "$out/book"
