#!/usr/bin/env bash
# Half an hour on one large GPU, from an empty folder to weights that can be committed.
#
#   TEXTURES=photographs.tar examples/train/gpu_session.sh all        everything, 29.6 minutes at most by plan
#   examples/train/gpu_session.sh train                               one step; given again it goes on where it was killed
#   DRY_RUN=1 examples/train/gpu_session.sh all                       the same on a CPU with the tiny config, in about a minute
#
# Steps: prepare kernels gpu_tests train evaluate split bench. `train` runs in a session of its own (setsid) and outlives the shell.
# Budget, minutes, packages installed beforehand: prepare 0.5, kernels 1.5, gpu_tests 2.5, train 21, evaluate 2, split 0.1, bench 2.
set -euo pipefail
cd "$(dirname "$0")/../.."

DRY_RUN=${DRY_RUN:-}
PYTHON=${PYTHON:-.venv/bin/python}
OUT=${OUT:-gpu-session}
TEXTURES=${TEXTURES:-}
SCENES=${SCENES:-}                 # photographs with known cameras to evaluate on; none: rendered scenes only
TRAIN_MINUTES=${TRAIN_MINUTES:-21} # the legs are scaled to this
PIECE=${PIECE:-16M}                # largest piece of the weights, bytes as `split` takes them
if [ -n "$DRY_RUN" ]; then
  CONFIG=${CONFIG:-examples/train/tiny.toml} DEVICE=${DEVICE:-cpu}
else
  CONFIG=${CONFIG:-examples/train/m3r-small.toml} DEVICE=${DEVICE:-cuda}
fi
RUN=$OUT/run

textures() { # the option, if there are photographs
  if [ -n "$TEXTURES" ]; then printf -- '--textures\n%s\n' "$TEXTURES"; fi
}

prepare() {
  mkdir -p "$OUT"
  "$PYTHON" -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda, torch.cuda.is_available())'
  if [ -z "$DRY_RUN" ]; then
    nvidia-smi
    "$PYTHON" -c 'import torch; assert torch.cuda.is_available(), "no GPU that torch can use"'
  fi
  "$PYTHON" examples/train/scale_minutes.py "$CONFIG" "$TRAIN_MINUTES" > "$OUT/config.toml"
}

kernels() {
  if [ -n "$DRY_RUN" ]; then
    "$PYTHON" -m mast3r_kernels.build
  else
    "$PYTHON" -m mast3r_kernels.build --cuda
  fi
}

gpu_tests() { # a failure is told and does not cost the training
  if [ -n "$DRY_RUN" ]; then
    "$PYTHON" -m pytest -q -m gpu --collect-only tests/kernels > "$OUT/gpu_tests.txt" || [ $? -eq 5 ]
  else
    timeout 150 "$PYTHON" -m pytest -q -m gpu 2>&1 | tee "$OUT/gpu_tests.txt" || echo "gpu_tests failed: see $OUT/gpu_tests.txt"
  fi
}

train() {
  if [ -e "$RUN/checkpoint/config.json" ]; then return; fi
  mkdir -p "$RUN"
  local options=() tries=0 pid
  mapfile -t options < <(textures)
  while [ ! -e "$RUN/checkpoint/config.json" ]; do # killed or crashed: the same command goes on
    tries=$((tries + 1))
    if [ "$tries" -gt 3 ]; then
      echo "train ended three times without a checkpoint: see $RUN/train.txt" >&2
      return 1
    fi
    pid=$(cat "$RUN/pid" 2> /dev/null || true)
    if [ -z "$pid" ] || ! kill -0 "$pid" 2> /dev/null; then
      setsid nohup "$PYTHON" -m m3r train "$OUT/config.toml" "${options[@]}" --device "$DEVICE" -o "$RUN" \
        >> "$RUN/train.txt" 2>&1 < /dev/null &
      pid=$!
      echo "$pid" > "$RUN/pid"
    fi
    while kill -0 "$pid" 2> /dev/null; do sleep 1; done
    rm -f "$RUN/pid"
  done
  tail -n 3 "$RUN/train.txt"
}

evaluate() {
  local options=() pairs=64
  mapfile -t options < <(textures)
  if [ -n "$DRY_RUN" ]; then pairs=2; fi
  "$PYTHON" -m m3r eval synthetic --checkpoint "$RUN/checkpoint" --device "$DEVICE" --pairs "$pairs" "${options[@]}" \
    | tee "$OUT/synthetic.txt"
  if [ -n "$SCENES" ]; then
    "$PYTHON" -m m3r eval reconstruction "$SCENES" --checkpoint "$RUN/checkpoint" --device "$DEVICE" --refine --sift \
      --report "$OUT/reconstruction.json" | tee "$OUT/reconstruction.txt"
  fi
}

split_weights() { # together again: cat NAME.part-* > NAME; sums says whether it is whole
  local weights
  rm -rf "$OUT/pieces"
  mkdir -p "$OUT/pieces"
  for weights in "$RUN"/checkpoint/*.safetensors; do
    split --bytes "$PIECE" --numeric-suffixes "$weights" "$OUT/pieces/$(basename "$weights").part-"
  done
  cp "$RUN/checkpoint/config.json" "$OUT/config.toml" "$RUN/log.jsonl" "$OUT/pieces/"
  (cd "$RUN/checkpoint" && sha256sum -- *.safetensors) > "$OUT/pieces/sums"
}

bench() {
  if [ -n "$DRY_RUN" ]; then
    "$PYTHON" -m benchmarks.bench_gpu --small --rounds 1 --photos 3 > "$OUT/bench_gpu.txt" 2>&1 || true
  else
    timeout 120 "$PYTHON" -m benchmarks.bench_gpu --rounds 10 2>&1 | tee "$OUT/bench_gpu.txt" || echo "bench did not finish"
  fi
}

timed() {
  local started=$SECONDS
  "$@"
  echo "== $1: $((SECONDS - started)) s"
}

for step in "${@:-all}"; do
  case $step in
    all) for each in prepare kernels gpu_tests train evaluate split_weights bench; do timed "$each"; done ;;
    split) timed split_weights ;;
    prepare | kernels | gpu_tests | train | evaluate | bench) timed "$step" ;;
    *)
      echo "unknown step '$step'; one of: all prepare kernels gpu_tests train evaluate split bench" >&2
      exit 2
      ;;
  esac
done
