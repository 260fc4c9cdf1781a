cd /work/main; unset PBE_PROFILE; export OMP_NUM_THREADS=2 HF_HUB_OFFLINE=1
for n in "$@"; do /usr/bin/time -f "$n %e s" .venv/bin/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False --ExecutePreprocessor.timeout=900 notebooks/$n*.ipynb 2>&1 | tail -3; done
