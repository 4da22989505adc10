"""Post sample images and comments to a running server: `make sample`.

The images are drawn here: landscapes with a sun, lying on their side as phones send them.
"""

import io
import random
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

from image_poster.client import ClientError, ImagePosterClient

PEOPLE = ("alice", "bob", "carol", "dave")
SCENES = {
    "At the lake": ((255, 183, 120), (94, 60, 108), (40, 70, 90)),
    "Snow, at last": ((200, 225, 250), (150, 180, 215), (235, 240, 245)),
    "The desert": ((250, 205, 140), (225, 140, 80), (190, 100, 60)),
    "Morning in the hills": ((255, 220, 190), (130, 170, 120), (60, 100, 70)),
    "After the rain": ((130, 150, 170), (70, 95, 110), (45, 80, 60)),
    "Night train": ((20, 25, 60), (50, 45, 90), (15, 15, 30)),
}
REMARKS = ("Lovely!", "Where is that?", "I want to go there.", "What a light.", "Again!")
ORIENTATION, ORIENTATION_6 = 0x0112, 6
WIDTH, HEIGHT = 1800, 1200


def landscape(colours: tuple[tuple[int, int, int], ...], chance: random.Random) -> Image.Image:
    """Draw sky, sun, and three rows of hills."""
    sky, hills, front = colours
    image = Image.new("RGB", (WIDTH, HEIGHT), sky)
    draw = ImageDraw.Draw(image)
    sun = chance.randint(300, 1500)
    draw.ellipse((sun - 110, 260, sun + 110, 480), fill=(255, 245, 215))
    for row in range(3):
        mixed = tuple(
            (far * (2 - row) + near * row) // 2 for far, near in zip(hills, front, strict=True)
        )
        base = 620 + row * 170
        line = [(x, base + chance.randint(-90, 60)) for x in range(-50, WIDTH + 250, 200)]
        draw.polygon([(0, HEIGHT), *line, (WIDTH, HEIGHT)], fill=mixed)
    return image.filter(ImageFilter.GaussianBlur(2))


def phone_image(image: Image.Image) -> bytes:
    """Encode an image as a phone does: pixels in the sensor's orientation, and a tag to turn
    them."""
    exif = Image.Exif()
    exif[ORIENTATION] = ORIENTATION_6
    buffer = io.BytesIO()
    image.transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", quality=90, exif=exif)
    return buffer.getvalue()


def main(url: str) -> None:
    """Post all scenes; the later ones get more comments."""
    chance = random.Random(5)
    with tempfile.TemporaryDirectory() as folder:
        for number, (caption, colours) in enumerate(SCENES.items()):
            file = Path(folder, f"{number}.jpg")
            file.write_bytes(phone_image(landscape(colours, chance)))
            with ImagePosterClient(url, PEOPLE[number % len(PEOPLE)]) as client:
                post = client.post(file, caption=caption, alt=f"A drawn landscape: {caption}")
                client.wait_until_processed(post.id)
            for remark in REMARKS[: number % 4]:
                with ImagePosterClient(url, chance.choice(PEOPLE)) as client:
                    client.comment(post.id, remark)
            print(f"{post.id}  {caption}")
    print(f"Look at them: {url}/")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except ClientError as exc:
        sys.exit(f"sample: {exc}")
