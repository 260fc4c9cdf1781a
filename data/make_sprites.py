"""Re-create `data/sprites/` from the npm package @lobehub/fluent-emoji-3d (MIT).

    npm pack @lobehub/fluent-emoji-3d@1.1.0
    python data/make_sprites.py lobehub-fluent-emoji-3d-1.1.0.tgz

Everyday things only: no signs, flags or people, and of faces a robot's alone.  Names are
Unicode's own.  `data/sprites.csv` (file, name) is written beside the pictures; which of
them are the world's 48 kinds, `data/kinds.csv` says, which was chosen by eye.
"""

import argparse
import csv
import io
import tarfile
import unicodedata
from pathlib import Path

from PIL import Image

CODEPOINTS = """
1f302 1f32d 1f32e 1f32f 1f330 1f331 1f332 1f333 1f334 1f335 1f336 1f337 1f338 1f339
1f33a 1f33b 1f33d 1f340 1f341 1f344 1f345 1f346 1f347 1f348 1f349 1f34a 1f34b 1f34c
1f34d 1f34e 1f34f 1f350 1f351 1f352 1f353 1f354 1f355 1f356 1f357 1f359 1f35e 1f35f
1f360 1f361 1f363 1f364 1f366 1f368 1f369 1f36a 1f36b 1f36c 1f36d 1f36e 1f36f
1f370 1f371 1f373 1f375 1f377 1f378 1f379 1f37a 1f37c 1f37e 1f37f 1f380 1f381 1f382
1f384 1f388 1f389 1f38f 1f392 1f393 1f399 1f3a0 1f3a1 1f3a4 1f3a5 1f3a7 1f3a8
1f3a9 1f3aa 1f3ac 1f3ae 1f3b0 1f3b1 1f3b2 1f3b3 1f3b7 1f3b8 1f3b9 1f3ba 1f3bb 1f3bd
1f3be 1f3c0 1f3c6 1f3c8 1f3cd 1f3ce 1f3d0 1f3d3 1f3e0 1f3ee 1f3ef 1f3f0 1f3f8
1f400 1f402 1f404 1f405 1f406 1f407 1f408 1f409 1f40a 1f40b 1f40c 1f40d 1f40e
1f40f 1f410 1f412 1f413 1f415 1f416 1f418 1f419 1f41a 1f41b 1f41c 1f41d
1f41e 1f41f 1f420 1f421 1f422 1f423 1f425 1f426 1f427 1f429 1f42b 1f42c 1f43f
1f451 1f452 1f453 1f454 1f455 1f456 1f457 1f45b 1f45c 1f45e 1f45f 1f460 1f462 1f484
1f48a 1f48d 1f48e 1f490 1f4a1 1f4a3 1f4b0 1f4ba 1f4bb 1f4bc 1f4bf 1f4cc
1f4d5 1f4d6 1f4da 1f4dc 1f4de 1f4e3 1f4e6 1f4ee 1f4ef 1f4f0 1f4f1 1f4f7 1f4fa 1f4fb
1f50b 1f50c 1f50d 1f511 1f512 1f514 1f525 1f526 1f527 1f528 1f529 1f52c 1f52d 1f52e
1f54a 1f56f 1f570 1f576 1f577 1f579 1f58c 1f5a5 1f5a8 1f5bc 1f680 1f681
1f682 1f68c 1f691 1f692 1f693 1f695 1f697 1f699 1f69a 1f69c 1f6a2 1f6a4 1f6a6 1f6a8
1f6aa 1f6b2 1f6bd 1f6c1 1f6cb 1f6cd 1f6d2 1f6df 1f6e1 1f6e2 1f6e9 1f6f4 1f6f5
1f6f6 1f6f7 1f6f8 1f6f9 1f6fb 1f6fc 1f916 1f941 1f94a 1f950 1f951 1f952 1f953
1f954 1f955 1f956 1f957 1f959 1f95a 1f95c 1f95d 1f95e 1f961 1f964 1f965 1f966
1f967 1f968 1f969 1f96a 1f96b 1f96c 1f96d 1f97e 1f980 1f982 1f983 1f985 1f986
1f987 1f988 1f989 1f98b 1f98c 1f98e 1f98f 1f990 1f991 1f994 1f995 1f996 1f997 1f998
1f999 1f99a 1f99b 1f99c 1f99e 1f9a1 1f9a2 1f9a3 1f9a4 1f9a5 1f9a6 1f9a8 1f9a9
1f9ab 1f9ac 1f9ad 1f9b4 1f9c0 1f9c1 1f9c2 1f9c3 1f9c4 1f9c5 1f9c7 1f9c8 1f9ca 1f9cb
1f9e2 1f9e3 1f9e4 1f9e5 1f9e6 1f9e9 1f9ed 1f9ef 1f9f0 1f9f1 1f9f2 1f9f3 1f9f4 1f9f5
1f9f6 1f9f8 1f9f9 1f9fa 1f9fc 1f9fd 1fa70 1fa74 1fa80 1fa81 1fa83 1fa85
1fa91 1fa93 1fa95 1fa96 1fa97 1fa98 1fa99 1fa9a 1fa9b 1fa9c 1faa3 1faa5 1faa8
1faa9 1fab2 1fab4 1fab5 1fab6 1faba 1fad0 1fad1 1fad2 1fad5 1fad6 2603 260e
2693 2699 26bd 26be 26f5 26fa 2702 2708 270f
""".split()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tarball", help="what `npm pack` wrote")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    (args.out / "sprites").mkdir(parents=True, exist_ok=True)
    rows = []
    with tarfile.open(args.tarball) as tar:
        names = set(tar.getnames())
        for code in CODEPOINTS:
            stem = f"package/assets/{code}"
            stem += "" if f"{stem}.webp" in names else "-fe0f"
            raw = tar.extractfile(f"{stem}.webp").read()
            Image.open(io.BytesIO(raw)).verify()
            (args.out / "sprites" / f"{code}.webp").write_bytes(raw)
            name = unicodedata.name(chr(int(code, 16))).lower().replace("-", " ")
            rows.append((f"{code}.webp", name))
    with open(args.out / "sprites.csv", "w", newline="") as f:
        csv.writer(f).writerows([("file", "name"), *rows])
    print(f"{len(rows)} sprites")


if __name__ == "__main__":
    main()
