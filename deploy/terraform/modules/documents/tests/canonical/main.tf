# Brings documents into one form, in which equal ones are equal: IAM takes a text in place of a list of one, in any order.
variable "documents" {
  description = "Documents by name: JSON."
  type        = map(string)
}

output "statements" {
  description = "Of each document: its statements by Sid."
  value = {
    for name, text in var.documents : name => {
      for statement in jsondecode(text).Statement : statement.Sid => {
        effect    = statement.Effect
        actions   = join(" ", sort(flatten([statement.Action])))
        resources = join(" ", sort(flatten([try(statement.Resource, [])])))
        principal = jsonencode(try(statement.Principal, null))
        condition = jsonencode(try(statement.Condition, null))
      }
    }
  }
}

output "published" {
  description = "The policies of deploy/iam, by file."
  value       = { for file in ["mint.json", "pull.json", "push.json"] : file => file("${path.module}/../../../../../iam/${file}") }
}
