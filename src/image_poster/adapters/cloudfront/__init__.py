"""Copies of pictures in CloudFront."""
