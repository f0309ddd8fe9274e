#!/bin/sh
# A calibration that many machines share: one shard of it in each task of an array, and the merge of all shards.
#
#   sh calibrate.sh shard [options of lacuna calibrate]
#   sh calibrate.sh merge [options of lacuna calibrate merge]
#
# It reads these variables:
#
#   CHECKPOINT            what to calibrate (for shard)
#   OUTPUT                a folder that all machines share; merge writes OUTPUT/statistics.json
#   SHARDS                the number of shards, the same in all tasks
#   SLURM_ARRAY_TASK_ID   which shard a task measures, from 0 on; Slurm sets it
#   JOB_COMPLETION_INDEX  the same; Kubernetes sets it
#
# SHARDS is not read from Slurm: an array that runs two lost shards again has two tasks, not all.
set -eu

fail() {
  printf 'calibrate.sh: %s\n' "$1" >&2
  exit "$2"
}

# A shard's files, without their endings. The number of shards is in the name, so another number never meets them.
name_of() {
  printf '%s/shard-%s-of-%s' "$OUTPUT" "$1" "$SHARDS"
}

# The JSON is written last and names the tensors by hash. Both appear whole or not at all.
is_there() {
  [ -f "$1.json" ] && [ -f "$1.safetensors" ]
}

mode=${1:-}
case $mode in
  shard | merge) shift ;;
  *) fail "Expected shard or merge as the first word, got '$mode'" 2 ;;
esac
[ -n "${OUTPUT:-}" ] || fail 'OUTPUT is not set. Set it to a folder that all machines share' 2
case ${SHARDS:-} in
  '' | 0* | *[!0-9]*) fail "Expected a whole number of at least 1 in SHARDS, got '${SHARDS:-}'" 2 ;;
esac

if [ "$mode" = shard ]; then
  [ -n "${CHECKPOINT:-}" ] || fail 'CHECKPOINT is not set. Set it to a folder, a GGUF file, or owner/name on the Hub' 2
  index=${SLURM_ARRAY_TASK_ID:-${JOB_COMPLETION_INDEX:-}}
  [ -n "$index" ] || fail 'Neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX says which shard this is' 2
  name=$(name_of "$index")
  if is_there "$name"; then
    echo "Shard $index of $SHARDS is there already: $name.json"
    exit 0
  fi
  # Where only one of the two files is, a run was lost between them. It is no result, so --force may replace it.
  exec lacuna calibrate "$CHECKPOINT" -o "$name.json" --shard "$index/$SHARDS" --force "$@"
fi

missing=
index=0
while [ "$index" -lt "$SHARDS" ]; do
  name=$(name_of "$index")
  if is_there "$name"; then set -- "$@" "$name.json"; else missing=$missing,$index; fi
  index=$((index + 1))
done
[ -z "$missing" ] || fail "Of $SHARDS shards in $OUTPUT, these are missing: ${missing#,}
  Run the array again with the same settings: it measures only these (in Slurm, --array=${missing#,}). Then merge." 1
exec lacuna calibrate merge -o "$OUTPUT/statistics.json" "$@"
