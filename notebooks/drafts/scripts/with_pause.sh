#!/bin/bash
# run a command while the training is stopped; log seconds paused
pid=$(pgrep -f "python -W ignore /tmp/w/arms.py" | head -1)
arm=$(ls -t /work/main/runs/arms/*/state.pt | head -1 | xargs dirname | xargs basename)
t0=$(date +%s); [ -n "$pid" ] && kill -STOP $pid
"$@"
[ -n "$pid" ] && kill -CONT $pid
echo "$(( $(date +%s) - t0 )) $(tr '\r' '\n' < /tmp/w/arms.log | tail -1 | cut -c1-60)" >> /tmp/w/paused
