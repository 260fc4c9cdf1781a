cd /work/main; export OMP_NUM_THREADS=2 TQDM_DISABLE=1 HF_HUB_OFFLINE=1
nice -n -15 .venv/bin/python -W ignore /tmp/w/trial3.py "$@" 2>&1 | grep --line-buffered -v Loading | tee -a /tmp/w/log
