"""The whole AWS edition on this machine: `make aws-local`.

- `emulator`: ministack, in a process of its own
- `stack`: infra/template.yaml, deployed there with few changes
- `front`: the parts of AWS in front of a stack: names, sign-in, CloudFront's two origins
"""
