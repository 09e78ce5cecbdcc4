#!/bin/sh
# Measures both checkpoints of a training in every format, several at a time: measure_all.sh DIR [JOBS]
set -eu
directory=$1
formats="float32 JANGTQ2 JANGTQ_K JANGTQ4 affine2 affine3 affine4 affine2-experts affine3-experts affine4-experts"
for checkpoint in quantized float; do
    for format in $formats; do
        echo "$directory/$checkpoint $format $directory/$checkpoint.$format.json"
    done
done | xargs -P "${2:-1}" -L 1 python3 -m jangtq_demo.measure
