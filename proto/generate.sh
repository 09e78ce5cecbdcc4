#!/bin/sh
# Regenerates the Python code of the .proto files; with --check, fails when the committed code differs.
set -eu
cd "$(dirname "$0")/.."
out=proto
if [ "${1:-}" = "--check" ]; then
    out=$(mktemp -d)
    trap 'rm -rf "$out"' EXIT
fi
python -m grpc_tools.protoc -I proto --python_out="$out" --pyi_out="$out" --grpc_python_out="$out" \
    --mypy_grpc_out="$out" proto/jangtq_proto/v1/*.proto
if [ "${1:-}" = "--check" ]; then
    for file in "$out"/jangtq_proto/v1/*; do
        cmp "$file" "proto/jangtq_proto/v1/$(basename "$file")" ||
            { echo "generated code is older than its .proto: run make proto" >&2; exit 1; }
    done
fi
