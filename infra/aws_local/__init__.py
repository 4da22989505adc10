"""The whole AWS edition on this machine: `make aws-local`.

emulator   ministack, in a process of its own
stack      infra/template.yaml, deployed there as it is
front      what AWS has in front of a stack: names, TLS, sign-in
"""
