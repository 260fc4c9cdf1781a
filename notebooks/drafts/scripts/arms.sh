cd /work/main; export OMP_NUM_THREADS=2 HF_HUB_OFFLINE=1
exec nice -n -15 .venv/bin/python -W ignore /tmp/w/arms.py "$@"
