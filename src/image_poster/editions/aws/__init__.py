"""The AWS edition: three Lambdas over one table and two buckets. `infra/template.yaml` deploys it.

settings      what the template tells each Lambda
parts         which class stands for which port
api           answers requests that come from API Gateway
image_stored  does the image work when S3 tells of an object
stream        follows changes that the table's stream tells of
operate       what operators do on a stack
"""
