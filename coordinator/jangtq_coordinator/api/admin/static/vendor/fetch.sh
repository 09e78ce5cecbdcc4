#!/bin/sh
# Fetches the page's libraries from npm: pinned versions, compared with the digests of their packages, unchanged.
set -eu
cd "$(dirname "$0")"
here=$PWD
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fetch() { # PACKAGE VERSION SHA256 FILE NAME
    file=$(cd "$folder" && npm pack --silent "$1@$2")
    echo "$3  $folder/$file" | sha256sum --check --quiet
    tar -xzf "$folder/$file" -C "$folder"
    cp "$folder/package/$4" "$here/$5.js"
    cp "$folder/package/LICENSE" "$here/$5.LICENSE"
    rm -rf "$folder/package"
}

fetch marked 18.2.1 d66c5213fc203466186060105b01f51896764ba64b3797d2620d02e28e34b8ca lib/marked.esm.js marked
fetch dompurify 3.5.0 faa5f2bfe2814384b83d6edb4ed66812fbfdb2a654b4d59edd4b12304058ec20 dist/purify.es.mjs dompurify
fetch @highlightjs/cdn-assets 11.12.0 b8a006d30f45afe783072569f3d69c5b60c0e7b9ca28cd474e12f2584e2a3bd9 es/highlight.min.js highlight
