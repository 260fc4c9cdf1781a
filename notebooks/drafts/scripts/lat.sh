cd /work/main; export OMP_NUM_THREADS=2 HF_HUB_OFFLINE=1
exec nice -n -15 .venv/bin/python -W ignore tests/benchmarks/latents.py --codec-samples 8000 --arm-samples 16000
