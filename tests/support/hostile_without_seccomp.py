"""`hostile`, on a kernel without seccomp."""

from support.hostile import lack_seccomp, main

if __name__ == "__main__":
    main(lack_seccomp)
