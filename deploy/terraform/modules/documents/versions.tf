# No provider: the documents are made, tested and compared without AWS.
terraform {
  required_version = ">= 1.9"
}
