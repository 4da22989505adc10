"""`hostile`, on a kernel without Landlock."""

from support.hostile import lack_landlock, main

if __name__ == "__main__":
    main(lack_landlock)
