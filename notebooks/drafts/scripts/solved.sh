cd /work/main; export PBE_PROFILE=smoke OMP_NUM_THREADS=2 HF_HUB_OFFLINE=1
for n in "$@"; do f=$(ls /tmp/drafts/$n*.ipynb); .venv/bin/python /tmp/w/solve.py $f /tmp/w/solved_$n.ipynb; cp /tmp/w/solved_$n.ipynb notebooks/solved_$n.ipynb
/usr/bin/time -f "$n %e s" .venv/bin/jupyter nbconvert --to notebook --execute --allow-errors --inplace --ExecutePreprocessor.timeout=900 notebooks/solved_$n.ipynb 2>&1 | tail -1; mv notebooks/solved_$n.ipynb /tmp/w/; done
