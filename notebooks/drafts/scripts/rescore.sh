cd /work/main; export OMP_NUM_THREADS=2 HF_HUB_OFFLINE=1 TQDM_DISABLE=1
exec nice -n -10 .venv/bin/python -W ignore /tmp/w/rescore.py copy_paste ground_truth scratch final augment naive_augment naive bottleneck final@1 final@2 shipped poisson text_inpainting blended_text blended_image
