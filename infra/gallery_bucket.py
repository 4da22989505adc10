"""Upload the gallery to the bucket of a stack: `python infra/gallery_bucket.py STACK`, as `make
deploy` does.

Files are uploaded uncompressed: CloudFront compresses them. Assets, whose names contain a hash of
their content, come first and the page last. Former assets stay, so that an open page still finds
its own.
"""

import sys
from typing import Any

from botocore.session import Session

from image_poster.http.gallery import PAGE, load


def put_gallery(storage: Any, bucket: str) -> int:
    """Upload the gallery and return the number of files."""
    files = load()
    for name in sorted(files, key=lambda name: (name == PAGE, not name.startswith("assets/"))):
        content, _ = files[name].variants[""]
        storage.put_object(
            Bucket=bucket,
            Key=name,
            Body=content,
            ContentType=files[name].media_type,
            CacheControl=files[name].cache_control,
        )
    return len(files)


def main(stack: str) -> None:
    """Upload to the bucket in the stack's output `GalleryBucket`, with the current AWS profile."""
    session = Session()
    answer = session.create_client("cloudformation").describe_stacks(StackName=stack)
    (described,) = answer["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
    count = put_gallery(session.create_client("s3"), outputs["GalleryBucket"])
    print(f"the gallery ({count} files) is at {outputs['Url']}/")


if __name__ == "__main__":
    main(sys.argv[1])
